"""Teacher sizes: one dial (the base width) and a few counts that go with it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """A teacher's shape.

    `width` is the number of channels at 1/16 resolution (960 in HiFiC); each step outwards halves it, but
    never below `outer_least`: 24 in `small` and `medium`, 8 in `tiny`, which is for tests. `norm` keeps
    HiFiC's ChannelNorm, which narrow teachers are better without: over a few channels it throws brightness
    away.
    """

    name: str
    width: int
    residual_blocks: int
    latent_channels: int
    hyper_channels: int
    outer_least: int
    norm: bool

    @property
    def widths(self) -> tuple[int, int, int, int, int]:
        """Channels at full, 1/2, 1/4, 1/8 and 1/16 resolution."""
        full, half, quarter, eighth = (max(self.width >> k, self.outer_least) for k in (4, 3, 2, 1))
        return full, half, quarter, eighth, self.width


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("tiny", 32, 1, 16, 16, 8, norm=False),
        Preset("small", 128, 3, 96, 96, 24, norm=False),
        Preset("medium", 192, 4, 96, 96, 24, norm=False),
        Preset("large", 480, 6, 192, 192, 30, norm=True),
        Preset("hific", 960, 9, 220, 320, 60, norm=True),
    )
}
