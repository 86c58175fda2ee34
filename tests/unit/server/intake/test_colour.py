import numpy as np
import pytest
from PIL import Image, ImageCms

from microdose.errors import BadPicture
from microdose_server.intake.picture import read_picture
from tests.photos import encode, photo

PHOTO = photo()


def with_alpha(alpha: int, *, at: tuple[int, int] | None = None) -> Image.Image:
    plane = np.full(PHOTO.shape[:2], 255, np.uint8)
    plane[at or slice(None)] = alpha
    return Image.fromarray(np.dstack([PHOTO, plane]))


def icc(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_opaque_alpha_is_dropped_with_a_note(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    picture = read_picture(encode(with_alpha(255), form, **options))
    assert np.array_equal(picture.pixels, PHOTO)
    if form != "WEBP":  # libwebp leaves an opaque plane out by itself
        assert picture.notes == ("opaque alpha channel dropped",)


def test_one_transparent_pixel_is_enough_to_refuse() -> None:
    with pytest.raises(BadPicture, match="flatten"):
        read_picture(encode(with_alpha(254, at=(3, 5))))


def test_a_transparent_key_colour_is_refused_where_it_occurs() -> None:
    key = tuple(int(v) for v in PHOTO[0, 0])
    with pytest.raises(BadPicture, match="transparent"):
        read_picture(encode(PHOTO, transparency=key))
    grey = np.zeros((32, 32), np.uint8)
    assert read_picture(encode(grey, transparency=7)).pixels.max() == 0


def test_grey_and_bilevel_are_repeated_with_a_note() -> None:
    grey = PHOTO[..., 1].copy()
    picture = read_picture(encode(grey))
    assert np.array_equal(picture.pixels, np.repeat(grey[..., None], 3, axis=2))
    assert picture.notes == ("grey repeated as RGB",)
    bilevel = read_picture(encode(Image.fromarray(grey).convert("1"), "TIFF"))
    assert set(np.unique(bilevel.pixels)) == {0, 255}


def test_grey_with_alpha_follows_both_rules() -> None:
    both = Image.fromarray(PHOTO).convert("LA")
    assert read_picture(encode(both)).notes == ("opaque alpha channel dropped", "grey repeated as RGB")


def test_a_palette_is_expanded() -> None:
    indexed = Image.fromarray(PHOTO).quantize(64)
    picture = read_picture(encode(indexed))
    assert np.array_equal(picture.pixels, np.asarray(indexed.convert("RGB")))
    assert picture.notes == ("palette expanded to RGB",)


def test_an_srgb_profile_changes_nothing() -> None:
    picture = read_picture(encode(PHOTO, icc_profile=icc("sRGB")))
    assert np.array_equal(picture.pixels, PHOTO)
    assert picture.notes == ()


def test_another_profile_is_converted_with_a_note() -> None:
    profile = bytearray(icc("sRGB"))
    red, green = profile.find(b"rXYZ"), profile.find(b"gXYZ")  # swap the primaries: red becomes green
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    picture = read_picture(encode(PHOTO, icc_profile=bytes(profile)))
    assert picture.notes == ("converted from its ICC profile to sRGB",)
    assert np.abs(picture.pixels.astype(int) - PHOTO[..., [1, 0, 2]]).max() <= 3


@pytest.mark.parametrize("profile", [b"not a profile", bytes(400), icc("LAB")])
def test_an_unusable_profile_is_ignored_with_a_note(profile: bytes) -> None:
    picture = read_picture(encode(PHOTO, icc_profile=profile))
    assert np.array_equal(picture.pixels, PHOTO)
    assert picture.notes == ("unreadable ICC profile ignored",)
