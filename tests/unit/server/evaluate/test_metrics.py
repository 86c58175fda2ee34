import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from microdose_server.evaluate.dists import DISTS
from microdose_server.evaluate.metrics import (
    MOVED,
    dists,
    dists_table,
    lpips,
    lpips_moved,
    lpips_moved_table,
    lpips_table,
    ms_ssim,
    psnr,
    tensor_of,
)
from microdose_server.training.data import Pixels
from microdose_server.training.lpips import LPIPS


@pytest.fixture
def picture() -> Pixels:
    y, x = np.mgrid[0:192, 0:256]
    pixels: Pixels = np.stack([x, y, (x * y) // 192], axis=2).astype(np.uint8)
    return pixels


def test_psnr_by_hand(picture: Pixels) -> None:
    off_by_ten = np.where(picture > 127, picture - 10, picture + 10).astype(np.uint8)
    assert psnr(picture, off_by_ten) == pytest.approx(20 * math.log10(25.5))
    assert psnr(picture, picture) == math.inf


def test_psnr_does_not_wrap_around() -> None:
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert psnr(black, white) == 0


def test_equal_pictures_are_perfect(picture: Pixels) -> None:
    assert ms_ssim(picture, picture) == pytest.approx(1)
    assert lpips(picture, picture) == 0
    assert dists(picture, picture) == pytest.approx(0, abs=1e-5)


def test_moved_lpips_looks_at_the_picture_from_another_place(picture: Pixels) -> None:
    other = picture.copy()
    other[:MOVED] = 0
    other[:, :MOVED] = 0
    assert lpips(picture, other) > 0
    assert lpips_moved(picture, other) == 0


def test_worse_is_worse(picture: Pixels) -> None:
    noise = np.random.default_rng(1).normal(size=picture.shape)
    little, much = (np.clip(picture + s * noise, 0, 255).astype(np.uint8) for s in (4, 40))
    assert psnr(picture, little) > psnr(picture, much)
    assert ms_ssim(picture, little) > ms_ssim(picture, much)
    assert lpips(picture, little) < lpips(picture, much)
    assert dists(picture, little) < dists(picture, much)


def test_tensor_has_channels_first_and_unit_range(picture: Pixels) -> None:
    tensor = tensor_of(picture)
    assert tensor.shape == (1, 3, 192, 256)
    assert float(tensor[0, 0, 0, 255]) == 1


Tables = Callable[[Sequence[Pixels], Sequence[Pixels]], list[list[float]]]
TABLES = [(lpips_table, LPIPS, 0), (lpips_moved_table, LPIPS, MOVED), (dists_table, DISTS, 0)]


@contextmanager
def embedded() -> Iterator[list[int]]:
    """Counts the pictures that networks look at, by the calls of their first layers."""
    count = [0]

    def note(layer: nn.Module, inputs: Any, output: Any) -> None:
        count[0] += isinstance(layer, nn.Conv2d) and layer.in_channels == 3

    hook = register_module_forward_hook(note)
    try:
        yield count
    finally:
        hook.remove()


@pytest.mark.parametrize(("table", "network", "moved"), TABLES)
def test_a_table_holds_every_picture_against_every_reference(
    table: Tables, network: type[LPIPS | DISTS], moved: int, picture: Pixels
) -> None:
    first, second, third = picture[:72, :80], picture[:72, 80:160], picture[72:144, :80]
    alike = network()

    def by_hand(a: Pixels, b: Pixels) -> float:
        return float(alike(tensor_of(a[moved:, moved:]), tensor_of(b[moved:, moved:])))

    references, pictures = [first, second], [third, second, first.copy(), first]
    with embedded() as count:
        found = table(references, pictures)
    assert found == [[by_hand(reference, each) for reference in references] for each in pictures]
    assert count == [len(references) + 2]  # two of the pictures are the references themselves


@pytest.mark.parametrize(("table", "network", "moved"), TABLES)
def test_a_table_remembers_no_picture(
    table: Tables, network: type[LPIPS | DISTS], moved: int, picture: Pixels
) -> None:
    reference, other = picture[:72, :80].copy(), picture[:72, 80:160].copy()
    before = table([reference], [other])
    reference[:], other[:] = other.copy(), picture[72:144, :80]
    assert table([reference], [other]) == table([reference.copy()], [other.copy()]) != before
