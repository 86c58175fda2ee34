import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from microdose.segment import latent_side
from microdose_server.distil.tiles import MARGIN, TILE, Target, Tile, cut, tiles_of

SIDES = st.integers(1, 900)


def target_of(height: int, width: int, channels: int = 1) -> Target:
    """Latents that hold their own column and row, pixels that hold their own column and row."""
    rows, columns = latent_side(height), latent_side(width)
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    y_hat = np.stack([y, x] * channels)
    down, across = np.mgrid[:height, :width]
    pixels = np.stack([down % 251, across % 251, (down // 16 + across // 16) % 256], 2)
    return Target(y_hat, pixels.astype(np.uint8))


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=3))
def test_every_pixel_is_in_exactly_one_tile(sizes: list[tuple[int, int]]) -> None:
    targets = [target_of(height, width) for height, width in sizes]
    counts = [np.zeros(target.pixels.shape[:2], np.int32) for target in targets]
    for tile in tiles_of(targets):
        _, pixels, _, _ = cut(targets[tile.picture], tile)
        rows, columns = pixels.shape[2:]
        assert rows > 0
        assert columns > 0
        counts[tile.picture][
            16 * tile.top : 16 * tile.top + rows, 16 * tile.left : 16 * tile.left + columns
        ] += 1
    assert all(bool((count == 1).all()) for count in counts)


@given(SIDES, SIDES)
def test_tiles_are_of_about_equal_size(height: int, width: int) -> None:
    tiles = tiles_of([target_of(height, width)])
    for sides in ({tile.bottom - tile.top for tile in tiles}, {tile.right - tile.left for tile in tiles}):
        assert max(sides) - min(sides) <= 1
        assert max(sides) <= 1.5 * TILE


@pytest.mark.parametrize(("height", "width"), [(1, 1), (100, 90), (700, 530), (513, 40)])
def test_latents_and_pixels_of_a_tile_belong_together(height: int, width: int) -> None:
    target = target_of(height, width)
    for tile in tiles_of([target]):
        y_hat, x_hat, (rows, columns), _ = cut(target, tile)
        pixels = np.rint(x_hat[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        assert pixels[0, 0].tolist() == [16 * tile.top % 251, 16 * tile.left % 251, tile.top + tile.left]
        # What a student paints from each latent, cropped as `cut` says, must lie on that latent's pixels.
        painted = torch.kron(y_hat, torch.ones(1, 1, 16, 16))[0, :, rows, columns].numpy()
        assert painted.shape[1:] == pixels.shape[:2]
        assert np.array_equal((painted[0] + painted[1]) % 256, pixels[..., 2])


def test_a_margin_surrounds_a_tile_where_there_is_one() -> None:
    target = target_of(1600, 1600)
    y_hat, x_hat, (rows, columns), _ = cut(target, Tile(0, 32, 48, 0, 16))
    assert y_hat.shape[2:] == (16 + 2 * MARGIN, 16 + MARGIN)
    assert x_hat.shape == (1, 3, 256, 256)
    assert (rows.start, columns.start) == (16 * MARGIN, 0)
    assert float(y_hat[0, 0, 0, 0]) == 32 - MARGIN
