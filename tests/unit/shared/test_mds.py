import json
import struct
from pathlib import Path
from typing import Any

import pytest

from microdose.base import load_base
from microdose.decoder import Decoder
from microdose.digest import digest_of
from microdose.errors import CorruptStream, DigestMismatch, NotFound, UnsupportedVersion
from microdose.mds import MAX_HEADER_BYTES, Mds, write_mds
from tests.tiny_base import tiny_sequence

TINY = tiny_sequence()
FILE = write_mds(TINY.manifest, TINY.blobs)


def rebuilt(data: bytes = FILE, **changes: Any) -> bytes:
    """The file with fields of its header replaced."""
    (length,) = struct.unpack_from("<I", data, 5)
    header = json.dumps(json.loads(data[9 : 9 + length]) | changes).encode()
    return data[:5] + struct.pack("<I", len(header)) + header + data[9 + length :]


def test_a_file_gives_back_what_went_in(tmp_path: Path) -> None:
    path = tmp_path / "tiny.mds"
    path.write_bytes(FILE)
    for file in (Mds.open(FILE), Mds.open(path), Mds.open(str(path))):
        assert file.manifest == TINY.manifest
        assert {digest: file.blob(digest) for digest in TINY.blobs} == TINY.blobs


def test_a_file_is_enough_to_decode() -> None:
    file = Mds.open(FILE)
    base = load_base(file.blob(file.manifest.base.digest), lambda descriptor: file.blob(descriptor.digest))
    dose = file.manifest.epochs[0].dose
    assert dose is not None
    decoder = Decoder(base, file.blob(dose.digest))
    for entry in file.manifest.segments:
        assert decoder.decode(file.blob(entry.blob.digest)).pixels.shape == (entry.height, entry.width, 3)


def test_only_complete_files_are_written() -> None:
    digest = TINY.manifest.segments[0].blob.digest
    with pytest.raises(NotFound, match="segment"):
        write_mds(TINY.manifest, {key: data for key, data in TINY.blobs.items() if key != digest})
    with pytest.raises(DigestMismatch):
        write_mds(TINY.manifest, {**TINY.blobs, digest: b"other"})


def test_missing_files_and_blobs_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        Mds.open(tmp_path / "nowhere.mds")
    with pytest.raises(NotFound):
        Mds.open(tmp_path)
    with pytest.raises(NotFound, match="holds no blob"):
        Mds.open(FILE).blob(digest_of(b"?"))


def test_a_damaged_blob_is_noticed() -> None:
    with pytest.raises(DigestMismatch):
        Mds.open(FILE[:-1] + bytes([FILE[-1] ^ 1])).blob(list(TINY.blobs)[-1])


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "cut short"),
        (FILE[:8], "cut short"),
        (FILE[:100], "cut short"),
        (FILE[:-1], "beyond its end"),
        (b"MDSE" + FILE[4:], "not a .mds file"),
        (FILE[:5] + struct.pack("<I", MAX_HEADER_BYTES + 1) + FILE[9:], "over the limit"),
        (FILE[:5] + struct.pack("<I", 9) + FILE[9:], "malformed"),
        (rebuilt(manifest={}), "malformed"),
        (rebuilt(manifest=[]), "malformed"),
        (rebuilt(blobs={"sha256:00": [0, 1]}), "malformed"),
        (rebuilt(blobs={digest_of(b"a"): [-1, 1]}), "malformed"),
        (rebuilt(blobs={digest_of(b"a"): [0, 2**27]}), "malformed"),
        (rebuilt(blobs={digest_of(b"a"): [2**40, 1]}), "beyond its end"),
        (rebuilt(blobs={digest_of(b"a"): [0, 9], digest_of(b"b"): [8, 9]}), "overlaps"),
    ],
)
def test_malformed_files_are_refused(data: bytes, match: str) -> None:
    with pytest.raises(CorruptStream, match=match):
        Mds.open(data)


def test_a_newer_version_is_told_apart() -> None:
    with pytest.raises(UnsupportedVersion, match="version 2"):
        Mds.open(FILE[:4] + b"\2" + FILE[5:])
