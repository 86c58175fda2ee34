"""A whole product in miniature for tests: a small base, and segments, doses and manifests for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from microdose import manifest as m
from microdose.base import Base, Descriptor, LoadedBase, Tables, TensorSlot
from microdose.changes import Add, Change, LowRank, Scale, matrix_shape
from microdose.digest import digest_of, prefix
from microdose.dose import Dose, DoseKind, pack_dose
from microdose.engine import Graph, hyper_from
from microdose.ids import new_id
from microdose.latents import encode_picture, hyper_shape
from microdose.segment import PictureHeader, latent_side, pack_segment
from microdose.tables import gaussian_tables, laplace_tables

LATENT_CHANNELS = 8
HYPER_CHANNELS = 4
MEAN_BITS = 4
HYPER_CLAMP = 15
SCALES = (0.3, 0.6, 1.2, 2.4, 4.8)
THRESHOLDS = (3, 6, 12, 24)


def describe(data: bytes, media_type: str) -> Descriptor:
    """The descriptor of a blob."""
    return Descriptor(media_type=media_type, digest=digest_of(data), size=len(data))


@cache
def tiny_base(seed: int = 0) -> LoadedBase:
    """A valid base. Another seed gives another teacher: other weights, other digest."""
    rng = np.random.default_rng(seed)
    weights = _student_weights(rng)
    student, hyper = _student_graph(weights), _hyper_graph(rng)
    document = Base(
        name=f"tiny-{seed}",
        teacher=digest_of(f"teacher {seed}".encode()),
        latent_channels=LATENT_CHANNELS,
        hyper_channels=HYPER_CHANNELS,
        mean_bits=MEAN_BITS,
        hyper_clamp=HYPER_CLAMP,
        student=describe(student, m.STUDENT_TYPE),
        hyper=describe(hyper, m.HYPER_TYPE),
        scale_thresholds=THRESHOLDS,
        tables=Tables(
            y=gaussian_tables(SCALES),
            z=gaussian_tables([1.0 + channel for channel in range(HYPER_CHANNELS)]),
            dose=laplace_tables([0.02, 0.1, 0.3, 1.0, 3.0, 10.0]),
        ),
        tensors=tuple(_find(student, name, weight) for name, weight in weights.items()),
        kmac_per_pixel=sum(weight.size for weight in weights.values()) / 256e3,
        parameters=sum(weight.size for weight in weights.values()),
    )
    return LoadedBase(digest_of(document.to_bytes()), document, student, hyper)


def tiny_segment(
    base: LoadedBase, width: int = 40, height: int = 24, epoch: int = 0, seed: int = 0, spread: float = 2.0
) -> bytes:
    """A segment of random latents with standard deviation `spread`."""
    rng = np.random.default_rng(seed)
    rows, columns = latent_side(height), latent_side(width)
    header = PictureHeader(width, height, rows, columns, epoch, base.prefix, bytes(4))
    y = rng.normal(0, spread, (base.document.latent_channels, rows, columns)).astype(np.float32)
    z = np.rint(rng.normal(0, 2, hyper_shape(header, base.document))).astype(np.int32)
    segment, _ = encode_picture(y, z, width, height, epoch, base, hyper_from(Graph(base.hyper, 1)))
    return pack_segment(segment)


def tiny_dose(base: LoadedBase, epoch: int = 0, seed: int = 0, parent: bytes | None = None) -> bytes:
    """A dose of small random changes of every form to every tensor; `parent` is the blob it builds on."""
    rng = np.random.default_rng(seed)
    changes = tuple(
        change for number in range(len(base.document.tensors)) for change in tiny_changes(base, number, rng)
    )
    named = b"" if parent is None else prefix(digest_of(parent))
    return pack_dose(Dose(base.prefix, epoch, DoseKind.FULL, changes, named), base)


def tiny_changes(base: LoadedBase, number: int, rng: np.random.Generator) -> tuple[Change, ...]:
    """A change of each form to one tensor."""
    slot = base.slot(number)
    rows, rest = matrix_shape(slot)

    def values(spread: float, *shape: int) -> NDArray[np.int32]:
        return np.asarray(np.rint(rng.laplace(0, spread, shape)), np.int32)

    return (
        Scale(number, 2.0**-6, values(2, rows)),
        LowRank(number, 2.0**-12, values(2, rows, 1), values(2, 1, rest)),
        Add(number, 2.0**-10, values(1, *slot.shape)),
    )


@dataclass(frozen=True)
class TinySequence:
    """A manifest with every blob it names, the base's graphs included."""

    base: LoadedBase
    manifest: m.Manifest
    blobs: Mapping[str, bytes]


def tiny_sequence(pictures: int = 3, base: LoadedBase | None = None, id: str | None = None) -> TinySequence:
    """A published sequence: one dosed epoch and some pictures of different size."""
    base = base or tiny_base()
    document, dose = base.document.to_bytes(), tiny_dose(base)
    blobs = {digest_of(data): data for data in (document, base.student, base.hyper, dose)}
    entries = []
    for n in range(pictures):
        width, height = 40 + n, 24
        data = tiny_segment(base, width, height, seed=n)
        blobs[digest_of(data)] = data
        blob = describe(data, m.SEGMENT_TYPE)
        entries.append(m.SegmentEntry(n=n, epoch=0, name=f"{n}.png", width=width, height=height, blob=blob))
    manifest = m.Manifest(
        sequence=id or new_id(),
        name="tiny",
        version=1,
        seq=pictures + 2,
        base=describe(document, m.BASE_TYPE),
        epochs=(m.EpochEntry(epoch=0, kind=DoseKind.FULL, dose=describe(dose, m.DOSE_TYPE)),),
        segments=tuple(entries),
        ended=True,
        bytes=m.ByteCounts(latents=sum(entry.blob.size for entry in entries), dose=len(dose)),
    )
    return TinySequence(base, manifest, blobs)


def _student_weights(rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """conv 3x3 over the latents, then 1x1 to 16 x 16 pixels of 3 colours each."""
    shapes = {
        "body.weight": (LATENT_CHANNELS, LATENT_CHANNELS, 3, 3),
        "body.bias": (LATENT_CHANNELS,),
        "tail.weight": (3 * 256, LATENT_CHANNELS, 1, 1),
        "tail.bias": (3 * 256,),
    }
    weights = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    weights["tail.bias"] += np.float32(0.5)
    return weights


def _student_graph(weights: Mapping[str, NDArray[np.float32]]) -> bytes:
    nodes = [
        helper.make_node("Conv", ["y_hat", "body.weight", "body.bias"], ["body"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["body"], ["active"]),
        helper.make_node("Conv", ["active", "tail.weight", "tail.bias"], ["tail"]),
        helper.make_node("DepthToSpace", ["tail"], ["x_hat"], blocksize=16, mode="CRD"),
    ]
    inputs = [_value("y_hat", LATENT_CHANNELS, "h", "w")]
    return _model(nodes, inputs, [_value("x_hat", 3, "H", "W")], weights)


def _hyper_graph(rng: np.random.Generator) -> bytes:
    """Integer weights small enough that every sum is exact in float32."""
    both = 2 * LATENT_CHANNELS
    weights: dict[str, NDArray[np.float32] | NDArray[np.int64]] = {
        "first.weight": rng.integers(-2, 3, (8, HYPER_CHANNELS, 3, 3)).astype(np.float32),
        "second.weight": rng.integers(-1, 2, (both * 16, 8, 1, 1)).astype(np.float32),
        "split": np.array([LATENT_CHANNELS, LATENT_CHANNELS], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["z_hat", "first.weight"], ["first"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["first"], ["active"]),
        helper.make_node("Conv", ["active", "second.weight"], ["second"]),
        helper.make_node("DepthToSpace", ["second"], ["both"], blocksize=4, mode="CRD"),
        helper.make_node("Split", ["both", "split"], ["scale", "mean"], axis=1),
    ]
    outputs = [_value("scale", LATENT_CHANNELS, "H", "W"), _value("mean", LATENT_CHANNELS, "H", "W")]
    return _model(nodes, [_value("z_hat", HYPER_CHANNELS, "h", "w")], outputs, weights)


def _value(name: str, channels: int, rows: str, columns: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, rows, columns])


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: Mapping[str, NDArray[np.float32] | NDArray[np.int64]],
) -> bytes:
    constants = [numpy_helper.from_array(weight, name) for name, weight in weights.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


def _find(graph: bytes, name: str, weight: NDArray[np.float32]) -> TensorSlot:
    """Where a tensor's raw bytes lie in the file; random weights occur only once."""
    raw = weight.tobytes()
    assert graph.count(raw) == 1
    slot = {"name": name, "offset": graph.index(raw), "length": len(raw), "shape": weight.shape}
    return TensorSlot.model_validate(slot | {"kind": "bias" if weight.ndim == 1 else "weight"})
