import io
import struct
import zlib
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from microdose.errors import BadPicture
from microdose_server.intake.picture import picture_size, read_picture, write_png
from microdose_server.settings import Limits
from tests.photos import encode, photo

PHOTO = photo()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_lossless_formats_come_back_exactly(form: str) -> None:
    picture = read_picture(encode(PHOTO, form))
    assert np.array_equal(picture.pixels, PHOTO)
    assert picture.pixels.dtype == np.uint8
    assert (picture.width, picture.height, picture.notes) == (96, 64, ())


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_come_back_closely(form: str) -> None:
    picture = read_picture(encode(PHOTO, form, quality=95))
    assert picture.pixels.shape == PHOTO.shape
    assert np.abs(picture.pixels.astype(int) - PHOTO).mean() < 6


def test_written_png_reads_back() -> None:
    assert np.array_equal(read_picture(write_png(PHOTO)).pixels, PHOTO)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_orientation_is_applied_and_noted(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {
        2: PHOTO[:, ::-1],
        3: PHOTO[::-1, ::-1],
        4: PHOTO[::-1],
        5: PHOTO.swapaxes(0, 1),
        6: np.rot90(PHOTO, -1),
        7: np.rot90(PHOTO, 2).swapaxes(0, 1),
        8: np.rot90(PHOTO),
    }[orientation]
    picture = read_picture(encode(PHOTO, "PNG", exif=exif))
    assert np.array_equal(picture.pixels, turned)
    assert any("upright" in note for note in picture.notes)


def size_of(data: bytes) -> tuple[int, int]:
    return picture_size(io.BytesIO(data))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_header_tells_the_size_of_the_upright_picture(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(PHOTO, form, exif=exif)
    assert size_of(data) == ((96, 64) if orientation > 4 else (64, 96)) == read_picture(data).pixels.shape[:2]


def test_a_header_tells_the_size_without_the_pixels() -> None:
    for form in ("PNG", "JPEG", "BMP"):
        data = encode(PHOTO, form)
        assert size_of(data[: len(data) // 2]) == (64, 96)


@pytest.mark.parametrize("name", [b"eXIf", b"tEXt", b"iTXt"])
def test_a_png_may_say_behind_its_pixels_how_it_is_turned(name: bytes) -> None:
    data, exif = encode(PHOTO), Image.Exif()
    exif[0x0112] = 6
    body = {
        b"eXIf": exif.tobytes().removeprefix(b"Exif\0\0"),
        b"tEXt": b"Raw profile type exif\0\nexif\n26\n" + exif.tobytes().hex().encode(),
        b"iTXt": b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>',
    }[name]
    late = data[:-12] + _chunk(name, body) + data[-12:]
    assert size_of(late) == (96, 64) == read_picture(late).pixels.shape[:2]
    assert size_of(data[:-12] + _chunk(b"tEXt", b"date\0today") + data[-12:]) == (64, 96)


def test_a_header_is_judged_as_the_picture_is() -> None:
    clear = np.dstack([PHOTO, np.full((64, 96), 9, "u1")])
    for data, reason in (
        (b"hello", "not a picture we read"),
        (encode(Image.fromarray(PHOTO).convert("CMYK"), "JPEG"), "CMYK"),
        (encode(np.zeros((32, 32), np.uint16)), "16 bits"),
        (encode(PHOTO, "WEBP", save_all=True, append_images=[Image.fromarray(255 - PHOTO)]), "of 2 pictures"),
        (_png(12000, 12000, depth=8, colour=2), "too large"),
        (encode(clear), "transparent"),
    ):
        with pytest.raises(BadPicture, match=reason):
            size_of(data)
    with pytest.raises(BadPicture, match="the limit is 100"):
        picture_size(io.BytesIO(encode(PHOTO)), Limits(max_picture_bytes=100))
    assert size_of(encode(np.dstack([PHOTO, np.full((64, 96), 255, "u1")]))) == (64, 96)


def test_only_the_first_picture_of_a_multi_picture_jpeg_is_used() -> None:
    data = encode(PHOTO, "MPO", save_all=True, append_images=[Image.fromarray(PHOTO[::-1].copy())])
    picture = read_picture(data)
    assert picture.pixels.shape == PHOTO.shape
    assert "first of the 2" in picture.notes[0]


@pytest.mark.parametrize("data", [b"", b"hello", b"GIF89a" + bytes(64), b"%!PS-Adobe\n", b"\0" * 4096])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(BadPicture, match="not a picture we read"):
        read_picture(data)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow prints it before it gives up
def test_truncated_pictures_are_refused(form: str, share: float) -> None:
    data = encode(PHOTO, form)
    with pytest.raises(BadPicture):
        read_picture(data[: int(len(data) * share)])


@pytest.mark.parametrize("form", ["PNG", "WEBP", "AVIF", "TIFF"])
def test_animated_and_many_paged_pictures_are_refused(form: str) -> None:
    data = encode(PHOTO, form, save_all=True, append_images=[Image.fromarray(PHOTO[::-1].copy())])
    with pytest.raises(BadPicture, match="of 2 pictures"):
        read_picture(data)


def test_sixteen_bits_are_refused_not_cut() -> None:
    grey = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 60
    for form in ("PNG", "TIFF"):
        with pytest.raises(BadPicture, match="16 bits per sample"):
            read_picture(encode(grey, form))
    with pytest.raises(BadPicture, match="16 bits per sample"):
        read_picture(_png(32, 32, depth=16, colour=2))


def test_floating_point_is_refused() -> None:
    with pytest.raises(BadPicture, match="32 bits per sample"):
        read_picture(encode(np.zeros((32, 32), np.float32), "TIFF"))


def test_ten_bit_avif_is_refused() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="avif") as container:
        stream: Any = container.add_stream("libsvtav1", rate=1)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p10le"
        frame = av.VideoFrame.from_ndarray(PHOTO, format="rgb24").reformat(format="yuv420p10le")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(BadPicture, match="10 bits per sample"):
        read_picture(out.getvalue())


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_is_refused(form: str) -> None:
    with pytest.raises(BadPicture, match="CMYK"):
        read_picture(encode(Image.fromarray(PHOTO).convert("CMYK"), form))


def test_a_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(BadPicture, match="12000x12000 is too large"):
        read_picture(_png(12000, 12000, depth=8, colour=2))


def test_limits_are_the_callers() -> None:
    data = encode(PHOTO)
    with pytest.raises(BadPicture, match="the limit is 100"):
        read_picture(data, Limits(max_picture_bytes=100))
    with pytest.raises(BadPicture, match="at most 6143 pixels"):
        read_picture(data, Limits(max_pixels=96 * 64 - 1))
    assert read_picture(data, Limits(max_pixels=96 * 64)).width == 96


def test_a_picture_smaller_than_one_latent_is_refused() -> None:
    with pytest.raises(BadPicture, match="15x16 is too small"):
        read_picture(encode(PHOTO[:16, :15].copy()))
    assert read_picture(encode(PHOTO[:16, :16].copy())).height == 16


def test_messages_name_no_object_in_memory() -> None:
    with pytest.raises(BadPicture) as caught:
        read_picture(encode(PHOTO)[:40])
    assert "0x" not in str(caught.value)
    assert "PNG picture is truncated" in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's complaints about the damage done below
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_picture_is_read_or_refused_never_worse(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP"]))
    damaged = bytearray(encode(PHOTO[:32, :32].copy(), form))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = read_picture(bytes(damaged))
    except BadPicture:
        return
    assert picture.pixels.ndim == 3
    assert picture.pixels.dtype == np.uint8


def _png(width: int, height: int, *, depth: int, colour: int) -> bytes:
    """A PNG of zeros by hand, for what Pillow does not write; its rows end early, as a bomb's would not."""
    out = io.BytesIO()
    out.write(b"\x89PNG\r\n\x1a\n")
    out.write(_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)))
    out.write(_chunk(b"IDAT", zlib.compress(bytes(64))))
    out.write(_chunk(b"IEND", b""))
    return out.getvalue()


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
