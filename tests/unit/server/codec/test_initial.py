import pytest
import torch
from torch.nn import functional as F

from microdose_server.codec.encode import to_tensor
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Teacher
from microdose_server.training.data import Pixels


@pytest.mark.parametrize("name", ["tiny", "small"])
@pytest.mark.parametrize("picture", [0, 1])
def test_a_fresh_teacher_decodes_a_blurred_picture_of_the_right_colours(
    name: str, picture: int, photographs: list[Pixels]
) -> None:
    torch.manual_seed(0)
    teacher = Teacher(PRESETS[name])
    x = to_tensor(photographs[picture][:256, :320])
    with torch.no_grad():
        x_hat = teacher(x).x_hat.clamp(0.0, 1.0)
    inner = slice(2, -2)  # zero padding in ten layers darkens the border
    blurred, expected = (F.avg_pool2d(each, 16)[0, :, inner, inner] for each in (x_hat, x))
    assert float((blurred - expected).abs().mean()) < 0.06
    for colour in range(3):
        both = torch.stack([blurred[colour].flatten(), expected[colour].flatten()])
        assert float(torch.corrcoef(both)[0, 1]) > 0.95


def test_the_tower_starts_as_the_identity() -> None:
    torch.manual_seed(0)
    teacher = Teacher(PRESETS["tiny"])
    x = torch.randn(1, 32, 4, 4)
    assert torch.equal(teacher.g_s.tower(x), x)


@torch.no_grad()
def test_activations_keep_their_size_through_a_fresh_encoder() -> None:
    torch.manual_seed(0)
    x, sizes = torch.rand(1, 3, 128, 128), []
    for layer in list(Teacher(PRESETS["small"]).g_a)[:-1]:
        x = layer(x)
        sizes.append(float(x.square().mean().sqrt()))
    assert 0.1 < min(sizes) <= max(sizes) < 3.0
