""".mds files as a source, and the bound on what an export gathers in memory."""

from pathlib import Path

import pytest

from microdose.errors import CorruptStream, NotFound
from microdose.ids import new_id
from microdose.mds import Mds, write_mds
from microdose_client import offline
from microdose_client.offline import MdsSource, decode_file, export, file_info
from microdose_client.reader import Reader
from tests.tiny_base import TinySequence, tiny_sequence


@pytest.fixture(scope="module")
def sequence() -> TinySequence:
    return tiny_sequence(2)


@pytest.fixture
def source(sequence: TinySequence) -> MdsSource:
    return MdsSource(Mds.open(write_mds(sequence.manifest, sequence.blobs)), "tiny.mds")


def test_a_file_is_a_source_of_its_own_sequence_only(source: MdsSource, sequence: TinySequence) -> None:
    reader = Reader([source])
    assert reader.manifest(sequence.manifest.sequence) == sequence.manifest
    with pytest.raises(NotFound, match=r"tiny\.mds holds sequence"):
        reader.manifest(new_id())


def test_what_is_exported_is_the_same_file(source: MdsSource, sequence: TinySequence, tmp_path: Path) -> None:
    export(Reader([source]), sequence.manifest, tmp_path / "copy.mds")
    assert file_info(tmp_path / "copy.mds").bytes == sequence.manifest.bytes
    assert len(decode_file(tmp_path / "copy.mds", tmp_path / "out").files) == 2


def test_an_export_has_an_upper_bound(
    source: MdsSource, sequence: TinySequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "MAX_EXPORT_BYTES", 100)
    with pytest.raises(CorruptStream, match="the limit is 100"):
        export(Reader([source]), sequence.manifest, tmp_path / "big.mds")
    assert not (tmp_path / "big.mds").exists()


def test_a_file_that_is_not_there_or_not_ours(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        file_info(tmp_path / "nowhere.mds")
    with pytest.raises(NotFound):
        file_info(tmp_path)
    (tmp_path / "other.mds").write_bytes(b"GIF89a" + bytes(100))
    with pytest.raises(CorruptStream, match=r"not a \.mds file"):
        file_info(tmp_path / "other.mds")
