import logging
import tarfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from microdose.errors import BadPicture, BadUpload, NotFound
from microdose_server.training.batches import Batches
from microdose_server.training.data import Photos, Pixels, crops
from microdose_server.training.photos import load_apart, load_photos
from tests.photos import encode, photo, shard

ORIENTATION = 0x0112


def test_reads_a_folder_in_the_order_of_names(photo_folder: Path) -> None:
    photos = load_photos(photo_folder, 200)
    assert [photo.shape for photo in photos] == [(200, 240, 3), (200, 320, 3)] * 2
    assert {photo.dtype for photo in photos} == {np.dtype(np.uint8)}


def test_pictures_go_through_intake(tmp_path: Path, photographs: list[Pixels]) -> None:
    piece = photographs[0][:40, :60]
    (tmp_path / "a.png").write_bytes(encode(piece[..., 0]))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    (tmp_path / "b.png").write_bytes(encode(piece, exif=exif))
    (tmp_path / "notes.txt").write_text("not a picture, and not taken for one")
    grey, turned = load_photos(tmp_path, 40)
    assert np.array_equal(grey, np.repeat(piece[..., :1], 3, axis=2))
    assert np.array_equal(turned, np.rot90(piece, 3))


def test_what_intake_refuses_is_named(tmp_path: Path, photographs: list[Pixels]) -> None:
    clear = np.dstack([photographs[0][:40, :40], np.full((40, 40), 9, "u1")])
    (tmp_path / "clear.webp").write_bytes(encode(clear, "WEBP"))
    with pytest.raises(BadPicture, match=r"clear\.webp: transparent"):
        load_photos(tmp_path, 40)


def test_refuses_folders_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(BadUpload, match="holds no picture"):
        load_photos(tmp_path, 16)
    with pytest.raises(NotFound, match=r"there is no .*missing"):
        load_photos(tmp_path / "missing", 16)


def test_every_refused_picture_is_named_or_counted(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number:02}.png").write_bytes(encode(photo(number))[:300])
    (tmp_path / "good.png").write_bytes(encode(photo()))
    with pytest.raises(BadPicture) as raised:
        load_photos(tmp_path, 16)
    told = str(raised.value)
    assert all(f"{number:02}.png: " in told for number in range(10))
    assert "10.png" not in told
    assert told.endswith("; and 2 more")


def test_pictures_that_are_too_small_are_passed_over_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, (width, height) in enumerate([(96, 64), (80, 96), (63, 80)]):
        (tmp_path / f"{number}.png").write_bytes(encode(photo(number, width, height)))
    (only,) = load_photos(tmp_path, 80)
    assert only.shape == (96, 80, 3)
    (line,) = caplog.messages
    assert "2 of 3 pictures have a side below 80 pixels" in line
    assert "0.png is 96x64; " in line
    assert line.endswith("2.png is 63x80")
    caplog.clear()
    assert len(load_photos(tmp_path, 63)) == 3
    assert not caplog.messages


def test_refuses_folders_in_which_no_picture_is_large_enough(photo_folder: Path) -> None:
    with pytest.raises(BadUpload, match=r"4 of 4 pictures .* 201 pixels: .*00\.png is 240x200"):
        load_photos(photo_folder, 201)


@pytest.mark.parametrize("kept", [0, 20, 1000])
def test_a_broken_file_is_named(tmp_path: Path, photographs: list[Pixels], kept: int) -> None:
    (tmp_path / "torn.png").write_bytes(encode(photographs[0][:64, :64])[:kept])
    with pytest.raises(BadPicture, match=r"torn\.png"):
        load_photos(tmp_path, 16)


def test_shards_are_read_in_their_order_beside_loose_pictures(tmp_path: Path) -> None:
    (tmp_path / "c.png").write_bytes(encode(photo(0)))
    index = ("INDEX.tsv", b"name\tsource\n")
    shard(tmp_path / "a.tar", index, ("z.png", encode(photo(1))), ("deep/b.png", encode(photo(2))))
    shard(tmp_path / "b.tar", ("1.bmp", encode(photo(3), "BMP")))
    loaded = load_photos(tmp_path, 64)
    assert len(loaded) == 4
    for found, expected in zip(loaded, (photo(1), photo(2), photo(3), photo(0)), strict=True):
        assert np.array_equal(found, expected)
    (alone,) = load_photos(tmp_path / "b.tar", 64)
    assert np.array_equal(alone, photo(3))


def test_a_bad_member_is_named(tmp_path: Path) -> None:
    path = shard(tmp_path / "s.tar", ("good.png", encode(photo())), ("torn.png", encode(photo())[:500]))
    with pytest.raises(BadPicture, match=r"s\.tar:torn\.png"):
        load_photos(path, 16)
    small = shard(tmp_path / "t.tar", ("small.png", encode(photo())))
    with pytest.raises(BadUpload, match=r"t\.tar:small\.png is 96x64"):
        load_photos(small, 65)


def test_what_is_not_a_plain_shard_is_refused(tmp_path: Path) -> None:
    whole = shard(tmp_path / "whole.tar", ("a.png", encode(photo()))).read_bytes()
    damaged = {
        "text.tar": b"this is no archive" * 100,
        "packed.tar": shard(tmp_path / "gz", ("a.png", encode(photo())), mode="w:gz").read_bytes(),
        "cut.tar": whole[:700],
        "upwards.tar": shard(tmp_path / "up", ("../a.png", encode(photo()))).read_bytes(),
    }
    for name, data in damaged.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadUpload, match=f"{name} is not a plain tar file"):
            load_photos(tmp_path / name, 16)


def test_shards_without_pictures_are_refused(tmp_path: Path) -> None:
    path = shard(tmp_path / "s.tar", ("INDEX.tsv", b"nothing"))
    with pytest.raises(BadUpload, match="holds no picture"):
        load_photos(path, 16)


def test_links_out_of_a_shard_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(BadUpload, match="not a plain tar file"):
        load_photos(tmp_path / "s.tar", 16)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Pictures of several sizes and kinds: loose ones, below one another, in a shard, and one on its side."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "a.png").write_bytes(encode(photo(0)))
    (tmp_path / "deep" / "b.jpg").write_bytes(encode(photo(1, 120, 80), "JPEG"))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    (tmp_path / "deep" / "er" / "c.jpg").write_bytes(encode(photo(2, 100, 70), "JPEG", exif=exif))
    shard(
        tmp_path / "deep" / "s.tar", ("1.webp", encode(photo(3), "WEBP")), ("2.png", encode(photo(4, 64, 96)))
    )
    return tmp_path


def test_what_does_not_fit_gives_the_same_batches(mixed: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    kept = load_photos(mixed, 64)
    assert not caplog.messages
    drawn = load_photos(mixed, 64, memory=40_000)
    assert "do not fit" in caplog.text
    assert kept.sizes == drawn.sizes == [(64, 96), (80, 120), (100, 70), (64, 96), (96, 64)]
    expected = list(islice(crops(kept, 4, 64, np.random.default_rng(0)), 20))
    with Batches(drawn, 4, 64, np.random.default_rng(0)) as batches:
        for batch in expected:
            assert torch.equal(next(batches), batch)


def test_what_fits_is_decoded_once_and_kept(mixed: Path) -> None:
    kept = load_photos(mixed, 64)
    for path in mixed.rglob("*.*"):
        path.unlink()
    assert [photo.shape[:2] for photo in kept] == kept.sizes
    assert kept[0] is kept[0]


def test_what_one_crop_holds_out_another_does_not_learn_from(tmp_path: Path) -> None:
    for n in range(12):
        (tmp_path / f"{n:02}.png").write_bytes(encode(photo(n, 96 if n % 3 else 64, 100)))
    seen = {side: load_apart(tmp_path, side, 3) for side in (64, 96)}
    for learnt, apart in seen.values():
        assert len(apart) > 0
        for others in seen.values():
            assert not digests(learnt) & digests(others[1])
    assert [len(photos) for photos in seen[64]] == [9, 3]
    assert sum(map(len, seen[96])) == 8


def digests(photos: Photos) -> set[bytes]:
    return {picture.tobytes() for picture in photos}


@pytest.fixture
def large(tmp_path: Path) -> tuple[Path, Photos]:
    """A file of pixels, and the photographs of its folder, too large to be kept."""
    path = tmp_path / "a.png"
    path.write_bytes(encode(photo()))
    return path, load_photos(tmp_path, 64, memory=1)


def test_a_file_that_breaks_later_is_named(large: tuple[Path, Photos]) -> None:
    path, photos = large
    assert np.array_equal(photos[0], photo())
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(
        BadPicture,
        match=r"a\.png: PNG picture is truncated .*; repair it, and .* or anew if nothing is saved",
    ):
        photos[0]
    path.unlink()
    with (
        Batches(photos, 1, 64, np.random.default_rng(0)) as batches,
        pytest.raises(BadPicture, match=r"a\.png: .*No such file"),
    ):
        next(batches)


def test_a_file_that_changes_its_size_later_is_named(large: tuple[Path, Photos]) -> None:
    path, photos = large
    path.write_bytes(encode(photo(0, 64, 64)).ljust(path.stat().st_size, b"\0"))
    with pytest.raises(BadPicture, match=r"a\.png: it was 96x64 by its header and is 64x64"):
        photos[0]


@pytest.mark.parametrize("memory", [1, 10**9])
def test_what_a_header_tells_is_refused_before_anything_is_drawn(tmp_path: Path, memory: int) -> None:
    (tmp_path / "good.png").write_bytes(encode(photo()))
    clear = np.dstack([photo(), np.full((64, 96), 9, "u1")])
    shard(tmp_path / "s.tar", ("clear.png", encode(clear)), ("cmyk.jpg", encode(cmyk(), "JPEG")))
    with pytest.raises(BadPicture) as raised:
        load_photos(tmp_path, 16, memory)
    told = str(raised.value)
    assert "s.tar:clear.png: transparent pixels" in told
    assert "s.tar:cmyk.jpg: CMYK colours" in told
    assert "good.png" not in told


def cmyk() -> Image.Image:
    return Image.fromarray(photo()).convert("CMYK")
