"""Colour policy of intake: opaque or refused, and sRGB whatever the file's profile says."""

import io

import numpy as np
from PIL import Image, ImageCms

from microdose.errors import BadPicture

MAX_PROFILE_BYTES = 4 << 20
_SRGB = ImageCms.createProfile("sRGB")
_PROBE = np.stack(np.meshgrid(*[np.linspace(0, 255, 5).astype(np.uint8)] * 3), axis=-1).reshape(5, 25, 3)
"""125 colours that span the cube: enough to tell whether a profile is sRGB by another name."""


def without_alpha(image: Image.Image, notes: list[str]) -> Image.Image:
    """Drop an alpha channel that says nothing.

    Raises BadPicture if any pixel is not opaque: its hidden colour is not what the author saw.
    """
    if not image.has_transparency_data:
        return image
    opaque = image.convert("RGBA").getchannel("A").getextrema() == (255, 255)
    if not opaque:
        raise BadPicture("transparent pixels: flatten the picture onto a background first")
    notes.append("opaque alpha channel dropped")
    return image.convert("L" if image.mode in ("LA", "L") else "RGB")


def to_srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """`image` as sRGB of mode RGB; conversions are recorded in `notes`."""
    if image.mode == "P":
        notes.append("palette expanded to RGB")
        image = image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "RGB"):
        notes.append(f"converted from {image.mode} to RGB")
        image = image.convert("RGB")
    if image.mode == "L":
        notes.append("grey repeated as RGB")
    if profile:
        image = _through_profile(image, profile, notes)
    return image.convert("RGB")


def _through_profile(image: Image.Image, profile: bytes, notes: list[str]) -> Image.Image:
    try:
        if len(profile) > MAX_PROFILE_BYTES:
            raise ValueError("too large")
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(
            source, _SRGB, image.mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )  # fmt: skip
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        # A profile that nobody can read, or one of another colour space: every viewer shows the plain values.
        notes.append("unreadable ICC profile ignored")
        return image
    if _changes_nothing(transform, image.mode):
        return image
    notes.append("converted from its ICC profile to sRGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # None only when asked to work in place
    return converted


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a profile is sRGB up to rounding (two levels); then the author's values stay untouched."""
    probe = Image.fromarray(_PROBE).convert(mode)
    after = ImageCms.applyTransform(probe, transform)
    before = np.asarray(probe.convert("RGB"), dtype=np.int16)
    return bool(np.abs(np.asarray(after, dtype=np.int16) - before).max() <= 2)
