import pytest

from microdose_server.codec.presets import PRESETS


def test_hific_has_the_published_widths() -> None:
    preset = PRESETS["hific"]
    assert preset.widths == (60, 120, 240, 480, 960)
    assert (preset.latent_channels, preset.hyper_channels, preset.residual_blocks) == (220, 320, 9)
    assert preset.norm


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_widths_never_fall_below_the_outer_least(name: str) -> None:
    preset = PRESETS[name]
    assert preset.name == name
    assert min(preset.widths) >= preset.outer_least
    assert sorted(preset.widths) == list(preset.widths)
    assert preset.widths[-1] == preset.width
