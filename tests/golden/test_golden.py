"""Files of every format version, decoded for ever.

`REGENERATE=1 pytest tests/golden` writes those of the newest version anew: only right before its release.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from microdose.base import Descriptor, LoadedBase, load_base
from microdose.decoder import Decoder
from microdose.digest import digest_of
from microdose.dose import apply_dose, parse_dose
from microdose.engine import Graph, hyper_from
from microdose.latents import decode_hyper, decode_picture, encode_picture, predict
from microdose.mds import Mds, write_mds
from microdose.segment import pack_segment, parse_segment
from tests import reference
from tests.tiny_base import tiny_base, tiny_dose, tiny_sequence

HERE = Path(__file__).parent
VERSIONS = ["v1"]
WIDTH, HEIGHT = 50, 37


def load(version: str) -> LoadedBase:
    graphs = [(HERE / version / name).read_bytes() for name in ("student.onnx", "hyper.onnx")]
    blobs = {digest_of(graph): graph for graph in graphs}

    def fetch(descriptor: Descriptor) -> bytes:
        return blobs[descriptor.digest]

    return load_base((HERE / version / "base.json").read_bytes(), fetch)


def read(version: str, name: str) -> bytes:
    return (HERE / version / name).read_bytes()


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
    sequence = tiny_sequence(2, base, id="0" * 26)
    files = {
        "base.json": base.document.to_bytes(),
        "student.onnx": base.student,
        "hyper.onnx": base.hyper,
        "segment.mdse": segment,
        "dose.mdse": dose,
        "sequence.mds": write_mds(sequence.manifest, sequence.blobs),
        "pixels.rgb": Decoder(base, dose, threads=1).decode(segment).pixels.tobytes(),
    }
    y_hat = decode_picture(parse_segment(segment), base, hyper_from(Graph(base.hyper, 1)))
    student = apply_dose(base.student, base, parse_dose(dose, base))
    expected = {"y_hat": digest_of(y_hat.tobytes()), "dosed_student": digest_of(student)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if os.environ.get("REGENERATE") == "1":
    regenerate(HERE / VERSIONS[-1])


@pytest.mark.parametrize("version", VERSIONS)
def test_latents_and_weights_come_out_bit_for_bit(version: str) -> None:
    base, expected = load(version), json.loads(read(version, "expected.json"))
    segment = parse_segment(read(version, "segment.mdse"))
    y_hat = decode_picture(segment, base, hyper_from(Graph(base.hyper, 1)))
    assert digest_of(y_hat.tobytes()) == expected["y_hat"]
    dose = parse_dose(read(version, "dose.mdse"), base)
    assert digest_of(apply_dose(base.student, base, dose)) == expected["dosed_student"]
    assert (segment.header.epoch, dose.epoch) == (5, 5)


@pytest.mark.parametrize("version", VERSIONS)
def test_pixels_differ_by_at_most_one(version: str) -> None:
    decoder = Decoder(load(version), read(version, "dose.mdse"))
    pixels = decoder.decode(read(version, "segment.mdse")).pixels.astype(np.int16)
    wanted = np.frombuffer(read(version, "pixels.rgb"), np.uint8).reshape(HEIGHT, WIDTH, 3)
    assert np.abs(pixels - wanted).max() <= 1


@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_sequence_plays_from_its_file(version: str) -> None:
    file = Mds.open(HERE / version / "sequence.mds")
    base = load_base(file.blob(file.manifest.base.digest), lambda each: file.blob(each.digest))
    for entry in file.manifest.segments:
        dose = file.manifest.epoch(entry.epoch).dose
        assert dose is not None
        picture = Decoder(base, file.blob(dose.digest)).decode(file.blob(entry.blob.digest))
        assert picture.pixels.shape == (entry.height, entry.width, 3)


def test_the_decoder_written_from_the_specification_agrees() -> None:
    base = load("v1")
    document = json.loads(read("v1", "base.json"))
    parts = reference.units(read("v1", "segment.mdse"))
    segment = parse_segment(read("v1", "segment.mdse"))
    z = decode_hyper(segment, base)
    channels = [channel for channel in range(len(z)) for _ in z[channel].flat]
    assert reference.symbols(parts[2], channels, document["tables"]["z"]) == z.ravel().tolist()
    hyper = hyper_from(Graph(base.hyper, 1))
    index, mean = predict(z, segment.header, base.document, hyper)
    symbols = reference.symbols(parts[3], index.ravel().tolist(), document["tables"]["y"])
    y_hat = np.array(symbols, np.float32).reshape(index.shape) + mean
    assert y_hat.tobytes() == decode_picture(segment, base, hyper).tobytes()
    assert max(map(abs, symbols)) > 2**29


def test_the_specification_covers_doses_too() -> None:
    base, data = load("v1"), read("v1", "dose.mdse")
    wanted = [(each.slot, each.step, each.values.ravel().tolist()) for each in parse_dose(data, base).tensors]
    assert reference.dose_values(data, json.loads(read("v1", "base.json"))) == wanted
