""".mds files as a source, and the bound on what an export gathers in memory."""

import asyncio
from pathlib import Path

import pytest

from microdose.errors import CorruptStream, NotFound
from microdose.ids import new_id
from microdose.manifest import Manifest
from microdose.mds import write_mds
from microdose_client import offline
from microdose_client.offline import MdsSource, decode_file, export, file_info
from microdose_client.reader import Reader
from microdose_client.remote import open_file
from tests.tiny_base import TinySequence, tiny_sequence


@pytest.fixture(scope="module")
def sequence() -> TinySequence:
    return tiny_sequence(2)


@pytest.fixture
def file(sequence: TinySequence, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.mds"
    path.write_bytes(write_mds(sequence.manifest, sequence.blobs))
    return path


async def opened(file: Path) -> MdsSource:
    return await MdsSource.open(await open_file(file))


def test_a_file_is_a_source_of_its_own_sequence_only(file: Path, sequence: TinySequence) -> None:
    async def ask(name: str) -> Manifest:
        return await Reader([await opened(file)]).manifest(name)

    assert asyncio.run(ask(sequence.manifest.sequence)) == sequence.manifest
    with pytest.raises(NotFound, match=r"tiny\.mds holds sequence"):
        asyncio.run(ask(new_id()))


def export_to(file: Path, sequence: TinySequence, copy: Path) -> None:
    async def work() -> None:
        await export(Reader([await opened(file)]), sequence.manifest, copy)

    asyncio.run(work())


def test_what_is_exported_is_the_same_file(file: Path, sequence: TinySequence, tmp_path: Path) -> None:
    export_to(file, sequence, tmp_path / "copy.mds")
    assert file_info(tmp_path / "copy.mds").bytes == sequence.manifest.bytes
    assert len(decode_file(tmp_path / "copy.mds", tmp_path / "out").files) == 2


def test_an_export_has_an_upper_bound(
    file: Path, sequence: TinySequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "MAX_EXPORT_BYTES", 100)
    with pytest.raises(CorruptStream, match="the limit is 100"):
        export_to(file, sequence, tmp_path / "big.mds")
    assert not (tmp_path / "big.mds").exists()


def test_a_file_that_is_not_there_or_not_ours(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        file_info(tmp_path / "nowhere.mds")
    with pytest.raises(NotFound):
        file_info(tmp_path)
    (tmp_path / "other.mds").write_bytes(b"GIF89a" + bytes(100))
    with pytest.raises(CorruptStream, match=r"not a \.mds file"):
        file_info(tmp_path / "other.mds")
