"""Files of every format version, decoded for ever.

`REGENERATE=1 pytest tests/golden` writes those of the newest version anew: only right before its release.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from microdose.base import LoadedBase, load_base
from microdose.changes import FORMS, Change, parts_of
from microdose.decoder import Decoder
from microdose.digest import digest_of
from microdose.dose import apply_dose, dosed_student, parse_dose
from microdose.engine import Graph, hyper_from
from microdose.latents import decode_hyper, decode_picture, encode_picture, predict
from microdose.mds import Mds, write_mds
from microdose.segment import pack_segment, parse_segment
from tests import reference
from tests.golden_files import FOLDER, SHIPPED, VERSIONS, golden, golden_base
from tests.tiny_base import tiny_base, tiny_dose, tiny_sequence

WIDTH, HEIGHT = 50, 37


def golden_segment(base: LoadedBase) -> bytes:
    """Ordinary latents, some that no table reaches, and hyper-latents at the clamp."""
    rng = np.random.default_rng(7)
    y = rng.normal(0, 3, (8, 3, 4)).astype(np.float32)
    y[0, 0, :3] = [200.0, -1e6, 2.0**30]
    z = np.array([[[1]], [[-2]], [[15]], [[-15]]], np.int32)
    segment, _ = encode_picture(y, z, WIDTH, HEIGHT, 5, base, hyper_from(Graph(base.hyper, 1)))
    return pack_segment(segment)


def regenerate(folder: Path) -> None:
    base = tiny_base()
    segment, dose = golden_segment(base), tiny_dose(base, epoch=5)
    child = tiny_dose(base, epoch=6, seed=1, parent=dose)
    sequence = tiny_sequence(2, base, id="0" * 26)
    files = {
        "base.json": base.document.to_bytes(),
        "student.onnx": base.student,
        "hyper.onnx": base.hyper,
        "segment.mdse": segment,
        "dose.mdse": dose,
        "child.mdse": child,
        "sequence.mds": write_mds(sequence.manifest, sequence.blobs),
        "pixels.rgb": Decoder(base, dose, threads=1).decode(segment).pixels.tobytes(),
    }
    y_hat = decode_picture(parse_segment(segment), base, hyper_from(Graph(base.hyper, 1)))
    expected = {
        "y_hat": digest_of(y_hat.tobytes()),
        "dosed_student": digest_of(dosed_student(base, [dose])),
        "child_student": digest_of(dosed_student(base, [dose, child])),
    }
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if os.environ.get("REGENERATE") == "1":
    regenerate(FOLDER / VERSIONS[-1])


@pytest.mark.parametrize("version", [*VERSIONS, SHIPPED])
def test_latents_and_weights_come_out_bit_for_bit(version: str) -> None:
    base, expected = golden_base(version), json.loads(golden(version, "expected.json"))
    segment = parse_segment(golden(version, "segment.mdse"))
    y_hat = decode_picture(segment, base, hyper_from(Graph(base.hyper, 1)))
    assert digest_of(y_hat.tobytes()) == expected["y_hat"]
    dose = parse_dose(golden(version, "dose.mdse"), base)
    assert digest_of(apply_dose(base.student, base, dose)) == expected["dosed_student"]
    assert (segment.header.epoch, dose.epoch) == (5, 5)


@pytest.mark.parametrize("version", [*VERSIONS, SHIPPED])
def test_pixels_differ_by_at_most_one(version: str) -> None:
    decoder = Decoder(golden_base(version), golden(version, "dose.mdse"))
    pixels = decoder.decode(golden(version, "segment.mdse")).pixels.astype(np.int16)
    wanted = np.frombuffer(golden(version, "pixels.rgb"), np.uint8).reshape(HEIGHT, WIDTH, 3)
    assert np.abs(pixels - wanted).max() <= 1


@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_sequence_plays_from_its_file(version: str) -> None:
    file = Mds.open(FOLDER / version / "sequence.mds")
    base = load_base(file.blob(file.manifest.base.digest), lambda each: file.blob(each.digest))
    for entry in file.manifest.segments:
        dose = file.manifest.epoch(entry.epoch).dose
        assert dose is not None
        picture = Decoder(base, file.blob(dose.digest)).decode(file.blob(entry.blob.digest))
        assert picture.pixels.shape == (entry.height, entry.width, 3)


def test_the_decoder_written_from_the_specification_agrees() -> None:
    base = golden_base("v1")
    document = json.loads(golden("v1", "base.json"))
    parts = reference.units(golden("v1", "segment.mdse"))
    segment = parse_segment(golden("v1", "segment.mdse"))
    z = decode_hyper(segment, base)
    channels = [channel for channel in range(len(z)) for _ in z[channel].flat]
    assert reference.symbols(parts[2], channels, document["tables"]["z"]) == z.ravel().tolist()
    hyper = hyper_from(Graph(base.hyper, 1))
    index, mean = predict(z, segment.header.latent_size, base.document, hyper)
    symbols = reference.symbols(parts[3], index.ravel().tolist(), document["tables"]["y"])
    y_hat = np.array(symbols, np.float32).reshape(index.shape) + mean
    assert y_hat.tobytes() == decode_picture(segment, base, hyper).tobytes()
    assert max(map(abs, symbols)) > 2**29


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_a_dose_on_a_dose_gives_its_weights_bit_for_bit(version: str) -> None:
    base, expected = golden_base(version), json.loads(golden(version, "expected.json"))
    chain = [golden(version, name) for name in ("dose.mdse", "child.mdse")]
    assert digest_of(dosed_student(base, chain)) == expected["child_student"]
    assert parse_dose(chain[1], base).parent.hex() == digest_of(chain[0])[7:23]


def test_the_specification_covers_older_doses_too() -> None:
    base, data = golden_base("v1"), golden("v1", "dose.mdse")
    wanted = [(each.slot, each.step, *each_part(each)) for each in parse_dose(data, base).changes]
    assert reference.dose_values(data, json.loads(golden("v1", "base.json"))) == wanted


@pytest.mark.parametrize("version", VERSIONS[1:])
@pytest.mark.parametrize("name", ["dose.mdse", "child.mdse"])
def test_the_specification_covers_changes(version: str, name: str) -> None:
    base, data = golden_base(version), golden(version, name)
    wanted = [
        (each.slot, FORMS[type(each)], each.step, *each_part(each)) for each in parse_dose(data, base).changes
    ]
    assert reference.dose_changes(data, json.loads(golden(version, "base.json"))) == wanted


def each_part(change: Change) -> list[list[int]]:
    """The values of a change as plain numbers."""
    return [part.ravel().tolist() for part in parts_of(change)]
