"""One suite for all transports and both clients: a viewer gets the same, faults included."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from microdose import keys
from microdose.base import Descriptor
from microdose.decoder import Decoder
from microdose.digest import digest_of
from microdose.errors import (
    CorruptStream,
    DigestMismatch,
    DoseMismatch,
    MicrodoseError,
    NotFound,
    Unavailable,
    UnknownBase,
    UnsupportedVersion,
)
from microdose.ids import new_id
from microdose.problem import ProblemError
from microdose_client import Client, decode_file, file_info, file_pictures
from microdose_client.reader import Reader
from tests.shelves import ONCE, SHORT, HttpShelf, RedisShelf, RelayShelf, Shelf, publish
from tests.tiny_base import TinySequence, tiny_base, tiny_dose, tiny_segment, tiny_sequence
from tests.viewers import OnALoop


@pytest.fixture(params=["http", "redis", "relay"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    makers: dict[str, Callable[[], HttpShelf | RedisShelf]] = {
        "http": HttpShelf,
        "redis": lambda: RedisShelf(request.getfixturevalue("redis_url")),
        "relay": lambda: RelayShelf(tmp_path / "relay"),
    }
    with makers[request.param]() as shelf:
        yield shelf


def raises(shelf: Shelf, kind: type[MicrodoseError]) -> "pytest.RaisesExc[MicrodoseError]":
    """What is wrong at a relay's upstream is told by the relay, where the client would find it otherwise."""
    if isinstance(shelf, RelayShelf):
        return pytest.raises(ProblemError, match="the upstream")
    return pytest.raises(kind)


@pytest.fixture(params=[Client, OnALoop], ids=["Client", "AsyncClient"])
def client(request: pytest.FixtureRequest, shelf: Shelf, tmp_path: Path) -> Iterator[Client]:
    with request.param(**shelf.options(), cache_dir=tmp_path / "cache") as client:
        yield client


@pytest.fixture(scope="module")
def sequence() -> TinySequence:
    return tiny_sequence(6)


def first_segment(sequence: TinySequence) -> Descriptor:
    return sequence.manifest.segments[0].blob


def play(client: Client, sequence: TinySequence) -> None:
    for _ in client.pictures(sequence.manifest.sequence, threads=1):
        pass


def fetch(shelf: Shelf, descriptor: Descriptor) -> bytes:
    async def work() -> bytes:
        source = shelf.source()
        try:
            return await Reader([source]).blob(descriptor)
        finally:
            await source.close()

    return asyncio.run(work())


def test_manifest(shelf: Shelf, client: Client, sequence: TinySequence) -> None:
    publish(shelf, sequence)
    assert client.manifest(sequence.manifest.sequence) == sequence.manifest


def test_pictures_are_those_of_the_decoder(shelf: Shelf, client: Client, sequence: TinySequence) -> None:
    publish(shelf, sequence)
    dose = sequence.manifest.epochs[0].dose
    assert dose is not None
    decoder = Decoder(sequence.base, sequence.blobs[dose.digest], threads=1)
    pictures = list(client.pictures(sequence.manifest.sequence, threads=1))
    assert [picture.n for picture in pictures] == list(range(6))
    for picture, entry in zip(pictures, sequence.manifest.segments, strict=True):
        assert (picture.name, picture.epoch, picture.size) == (entry.name, entry.epoch, entry.blob.size)
        expected = decoder.decode(sequence.blobs[entry.blob.digest])
        np.testing.assert_array_equal(picture.pixels, expected.pixels)


def test_pull_writes_every_picture_under_its_name(
    shelf: Shelf, client: Client, sequence: TinySequence, tmp_path: Path
) -> None:
    publish(shelf, sequence)
    pulled = client.pull(sequence.manifest.sequence, tmp_path / "out", threads=1)
    names = [entry.name for entry in sequence.manifest.segments]
    assert [file.name for file in pulled.files] == names
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == names


@pytest.mark.parametrize("size", [1, keys.CHUNK - 1, keys.CHUNK, keys.CHUNK + 1, 3 * keys.CHUNK])
def test_blobs_of_any_size(shelf: Shelf, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    shelf.put_blob(digest_of(data), data)
    assert fetch(shelf, Descriptor(media_type="x/y", digest=digest_of(data), size=size)) == data


def test_a_sequence_that_is_not_there(client: Client) -> None:
    for name in (new_id(), "../../etc", "x"):
        with pytest.raises(NotFound):
            client.manifest(name)


def test_a_missing_segment(shelf: Shelf, client: Client, sequence: TinySequence) -> None:
    publish(shelf, sequence)
    shelf.lose_blob(first_segment(sequence).digest)
    with pytest.raises(NotFound, match=first_segment(sequence).digest):
        play(client, sequence)


@pytest.mark.parametrize("what", ["document", "student", "hyper"])
def test_a_missing_base(shelf: Shelf, client: Client, sequence: TinySequence, what: str) -> None:
    publish(shelf, sequence)
    base = sequence.base.document
    lost = {"document": sequence.manifest.base, "student": base.student, "hyper": base.hyper}[what]
    shelf.lose_blob(lost.digest)
    with pytest.raises(UnknownBase, match=sequence.manifest.base.digest):
        play(client, sequence)


def test_wrong_bytes(shelf: Shelf, client: Client, sequence: TinySequence) -> None:
    publish(shelf, sequence)
    descriptor = first_segment(sequence)
    shelf.put_blob(descriptor.digest, bytes(descriptor.size))
    with raises(shelf, DigestMismatch):
        play(client, sequence)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_blob_of_another_length(shelf: Shelf, client: Client, sequence: TinySequence, change: int) -> None:
    publish(shelf, sequence)
    descriptor = first_segment(sequence)
    data = sequence.blobs[descriptor.digest] + bytes(1)
    shelf.put_blob(descriptor.digest, data[: descriptor.size + change])
    with raises(shelf, CorruptStream):
        play(client, sequence)


def test_a_chunk_cut_short(shelf: Shelf) -> None:
    data = bytes(3 * keys.CHUNK)
    shelf.put_blob(digest_of(data), data[: 2 * keys.CHUNK - 5])
    with raises(shelf, CorruptStream):
        fetch(shelf, Descriptor(media_type="x/y", digest=digest_of(data), size=len(data)))


@pytest.mark.parametrize("change", [-1, 1])
def test_a_manifest_that_lies_about_sizes(
    shelf: Shelf, client: Client, sequence: TinySequence, change: int
) -> None:
    segments = [entry.model_dump(mode="json") for entry in sequence.manifest.segments]
    segments[0]["blob"]["size"] += change
    publish(shelf, sequence, segments=segments)
    with pytest.raises(CorruptStream):
        play(client, sequence)


def test_a_manifest_that_lies_about_pictures(shelf: Shelf, client: Client, sequence: TinySequence) -> None:
    segments = [entry.model_dump(mode="json") for entry in sequence.manifest.segments]
    segments[2]["width"] += 1
    publish(shelf, sequence, segments=segments)
    with pytest.raises(CorruptStream, match="picture 2 is 42x24; the manifest says 43x24"):
        play(client, sequence)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"protocol": 2}, UnsupportedVersion),
        ({"critical": ["encryption"]}, UnsupportedVersion),
        ({"segments": "many"}, CorruptStream),
    ],
)
def test_a_manifest_we_must_not_use(
    shelf: Shelf,
    client: Client,
    sequence: TinySequence,
    changes: dict[str, object],
    error: type[MicrodoseError],
) -> None:
    publish(shelf, sequence, **changes)
    with pytest.raises(error):
        client.manifest(sequence.manifest.sequence)


def test_a_manifest_of_another_sequence(shelf: Shelf, client: Client, sequence: TinySequence) -> None:
    publish(shelf, sequence, sequence=new_id())
    with raises(shelf, CorruptStream):
        client.manifest(sequence.manifest.sequence)


def test_a_segment_of_another_base(shelf: Shelf, client: Client, sequence: TinySequence) -> None:
    alien = tiny_segment(tiny_base(seed=9))
    segments = [sequence.manifest.segments[0].model_dump(mode="json")]
    segments[0]["blob"] |= {"digest": digest_of(alien), "size": len(alien)}
    publish(shelf, sequence, segments=segments)
    shelf.put_blob(digest_of(alien), alien)
    with pytest.raises(UnknownBase):
        play(client, sequence)


def test_a_dose_of_another_base(shelf: Shelf, client: Client, sequence: TinySequence) -> None:
    alien = tiny_dose(tiny_base(seed=9))
    epochs = [sequence.manifest.epochs[0].model_dump(mode="json")]
    epochs[0]["dose"] |= {"digest": digest_of(alien), "size": len(alien)}
    publish(shelf, sequence, epochs=epochs)
    shelf.put_blob(digest_of(alien), alien)
    with pytest.raises(DoseMismatch):
        play(client, sequence)


def test_a_wrong_key(shelf: Shelf, sequence: TinySequence, tmp_path: Path) -> None:
    publish(shelf, sequence)
    with shelf.client(tmp_path, key="md_wrong_key") as client, pytest.raises(ProblemError) as caught:
        client.manifest(sequence.manifest.sequence)
    assert caught.value.problem.slug == "unauthorized"
    assert "md_wrong_key" not in str(caught.value)


def test_bases_and_doses_come_from_the_cache_the_second_time(
    shelf: Shelf, client: Client, sequence: TinySequence
) -> None:
    publish(shelf, sequence)
    play(client, sequence)
    base, dose = sequence.base.document, sequence.manifest.epochs[0].dose
    assert dose is not None
    for descriptor in (sequence.manifest.base, base.student, base.hyper, dose):
        shelf.lose_blob(descriptor.digest)
    play(client, sequence)


def test_export_plays_offline(shelf: Shelf, client: Client, sequence: TinySequence, tmp_path: Path) -> None:
    publish(shelf, sequence)
    path = tmp_path / "out" / "tiny.mds"
    assert client.export(sequence.manifest.sequence, path) == path.stat().st_size
    assert file_info(path) == client.info(sequence.manifest.sequence)
    online = client.pictures(sequence.manifest.sequence, threads=1)
    for picture, expected in zip(file_pictures(path, threads=1), online, strict=True):
        np.testing.assert_array_equal(picture.pixels, expected.pixels)
    assert len(decode_file(path, tmp_path / "png").files) == 6


def connect(scheme: str, listener: socket.socket, cache_dir: Path) -> Client:
    """A client, short of patience, of whatever is at the listener's port."""
    url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    if scheme == "http":
        return Client(url, cache_dir=cache_dir, retry=ONCE, timeouts=SHORT)
    return Client(redis=url, cache_dir=cache_dir, timeouts=SHORT)


@pytest.mark.parametrize("scheme", ["http", "redis"])
def test_nobody_there(scheme: str, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with connect(scheme, closed, tmp_path) as client, pytest.raises(Unavailable):
            client.manifest(new_id())


@pytest.mark.parametrize("scheme", ["http", "redis"])
def test_somebody_who_never_answers(scheme: str, tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        connect(scheme, mute, tmp_path) as client,
        pytest.raises(Unavailable),
    ):
        client.manifest(new_id())
