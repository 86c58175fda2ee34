"""What a file is, by its first bytes. Names and media types are claims; these are evidence.

Only what is recognised here ever reaches a parser, and it reaches exactly one: Pillow registers some
forty formats and FFmpeg hundreds, playlists that name other files among them.
"""

from typing import Final

HEAD: Final = 16
"""Bytes of a file that the functions below look at."""

_PICTURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"BM", "BMP"),
)
_AVIF_BRANDS: Final = (b"avif", b"avis", b"mif1", b"msf1")
_HEIF_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_CLIPS: Final = ((b"\x1aE\xdf\xa3", "matroska"), (b"YUV4MPEG2 ", "yuv4mpegpipe"))

PICTURE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff", ".bmp"})
"""Of files in a folder that are worth a look."""
PICTURE_FORMATS: Final = "PNG, JPEG, WebP, AVIF, TIFF or BMP"
CLIP_FORMATS: Final = "MP4, MOV, MKV, WebM, AVI or Y4M"


def picture_format(head: bytes) -> str | None:
    """Pillow's name of the picture format that `head` begins, or None."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp" and head[8:12] in _AVIF_BRANDS:
        return "AVIF"
    return next((name for magic, name in _PICTURES if head.startswith(magic)), None)


def clip_format(head: bytes) -> str | None:
    """FFmpeg's name of the one demuxer that may open a clip beginning with `head`, or None."""
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[4:8] == b"ftyp" and head[8:12] not in _AVIF_BRANDS + _HEIF_BRANDS:
        return "mp4"
    return next((name for magic, name in _CLIPS if head.startswith(magic)), None)


def is_zip(head: bytes) -> bool:
    """Whether `head` begins a zip archive (an empty one included)."""
    return head[:4] in (b"PK\x03\x04", b"PK\x05\x06")
