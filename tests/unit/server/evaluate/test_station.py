"""A station's sequence is one that viewers can play, doses and all."""

from pathlib import Path

import pytest
import redis

from microdose.decoder import Decoder
from microdose.dose import parse_dose
from microdose.manifest import Manifest, parse_manifest
from microdose_server.evaluate.station import Station, made_up_dose
from microdose_server.settings import Settings
from microdose_server.store.blobs import public_blobs
from microdose_server.store.bus import read_manifest
from tests.tiny_base import tiny_base, tiny_segment
from tests.valkey import bus, redis_url

__all__ = ["bus", "redis_url"]
BASE = tiny_base()


@pytest.fixture
def station(bus: redis.Redis, tmp_path: Path) -> Station:
    pictures = [tiny_segment(BASE, 40, 24, seed=seed) for seed in range(2)]
    return Station(bus, Settings(data_dir=tmp_path), BASE, pictures)


def published(station: Station, bus: redis.Redis) -> Manifest:
    data = read_manifest(bus, station.sequence)
    assert data is not None
    return parse_manifest(data)


def test_it_can_be_decoded_in_every_epoch(station: Station, bus: redis.Redis, tmp_path: Path) -> None:
    for _ in range(2):
        for _ in range(3):
            station.show()
        station.upgrade()
    station.show()
    station.end()
    manifest, store = published(station, bus), public_blobs(tmp_path)
    assert manifest.ended
    assert [entry.epoch for entry in manifest.segments] == [0, 0, 0, 1, 1, 1, 2]
    assert [entry.blob.digest for entry in manifest.segments] == station.blobs
    assert station.announced.keys() == {1, 2}
    for entry in manifest.segments:
        doses = [store.get(dose.digest) for dose in manifest.doses(entry.epoch)]
        picture = Decoder(BASE, *doses, threads=1).decode(store.get(entry.blob.digest))
        assert picture.pixels.shape == (24, 40, 3)


def test_a_made_up_dose_is_of_its_epoch_and_changes_most_tensors() -> None:
    dose = parse_dose(made_up_dose(BASE, 3), BASE)
    assert dose.epoch == 3
    assert len(dose.changes) > len(BASE.document.tensors) / 2
