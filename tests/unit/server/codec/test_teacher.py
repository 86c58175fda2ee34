import pytest
import torch
from torch import nn

from microdose_server.codec.encode import to_tensor
from microdose_server.codec.presets import PRESETS, Preset
from microdose_server.codec.teacher import Generator, Teacher, pad_to_stride
from microdose_server.training.data import Pixels

NORMED = Preset("normed", 16, 2, 6, 8, 4, norm=True)


@pytest.fixture(scope="module")
def hific() -> Teacher:
    with torch.device("meta"):  # 181 million numbers that nobody needs
        return Teacher(PRESETS["hific"])


def count(module: nn.Module) -> int:
    return sum(value.numel() for name, value in module.named_parameters() if "z_prior" not in name)


def test_hific_has_the_published_number_of_parameters(hific: Teacher) -> None:
    assert count(hific) == 181_461_583
    assert count(hific.g_a) == 7_423_420
    assert count(hific.g_s) == 156_774_683
    assert (count(hific.g_s.head), count(hific.g_s.tower)) == (1_904_120, 149_351_040)
    assert count(hific.hyperprior.h_a) == 5_754_560
    assert count(hific.hyperprior.h_s_scale) == count(hific.hyperprior.h_s_mean) == 5_754_460


def test_hific_has_the_published_layers(hific: Teacher) -> None:
    """(in, out, kernel, stride) of every convolution outside the tower and the hyperprior."""
    assert shapes(hific.g_a) == [
        (3, 60, 7, 1),
        *((60 << k, 120 << k, 3, 2) for k in range(4)),
        (960, 220, 3, 1),
    ]
    assert shapes(hific.g_s.head) == [(220, 960, 3, 1)]
    assert shapes(hific.g_s.tail) == [*((960 >> k, 480 >> k, 3, 2) for k in range(4)), (60, 3, 7, 1)]
    assert len(hific.g_s.tower) == 9
    assert [type(layer).__name__ for layer in hific.g_s.head] == ["ChannelNorm", "Conv2d", "ChannelNorm"]
    assert isinstance(hific.g_s.tail[-1], nn.Conv2d)


def shapes(module: nn.Module) -> list[tuple[int, int, int, int]]:
    return [
        (layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0])
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    ]


def test_a_long_skip_leads_around_the_tower() -> None:
    torch.manual_seed(0)
    generator, y_hat = Generator(NORMED), torch.randn(1, 6, 3, 5)
    after_head = generator.head(y_hat)
    expected = generator.tail(generator.tower(after_head) + after_head)
    assert torch.equal(generator(y_hat), expected)
    assert expected.shape == (1, 3, 48, 80)


@pytest.mark.parametrize("preset", [NORMED, PRESETS["tiny"]])
def test_every_trained_parameter_gets_a_gradient(preset: Preset) -> None:
    torch.manual_seed(0)
    teacher = Teacher(preset)
    x = torch.rand(1, 3, 64, 96)
    output = teacher(x)
    assert output.x_hat.shape == x.shape
    assert output.y_hat.shape == (1, preset.latent_channels, 4, 6)
    (((output.x_hat - x) ** 2).mean() + 1e-6 * output.bits).backward()
    without = {name for name, value in teacher.named_parameters() if value.grad is None}
    assert without == {"hyperprior.z_prior.quantiles"}


def test_hific_paints() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        output = Teacher(PRESETS["hific"])(torch.rand(1, 3, 64, 64))
    assert output.x_hat.shape == (1, 3, 64, 64)
    assert output.y_hat.shape == (1, 220, 4, 4)
    assert all(bool(value.isfinite().all()) for value in output)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 32), (17, 33), (250, 161)])
def test_padding_repeats_the_edge(photographs: list[Pixels], height: int, width: int) -> None:
    x = to_tensor(photographs[0][:height, :width])
    padded = pad_to_stride(x)
    assert padded.shape == (1, 3, -(-height // 16) * 16, -(-width // 16) * 16)
    assert torch.equal(padded[..., :height, :width], x)
    assert torch.equal(padded[..., height:, :width], x[..., -1:, :].expand_as(padded[..., height:, :width]))
    assert torch.equal(padded[..., width:], padded[..., width - 1 : width].expand_as(padded[..., width:]))
