"""From trained networks to a base: two graphs, integer tables, and the slots that a dose may write to."""

from typing import Literal

import numpy as np
import torch

from microdose.base import Base, Descriptor, LoadedBase, Tables, TensorSlot
from microdose.digest import digest_of
from microdose.manifest import HYPER_TYPE, STUDENT_TYPE
from microdose.tables import TableSet, gaussian_tables, laplace_tables, tables_from_pmf
from microdose_server.codec.entropy_models import EntropyBottleneck
from microdose_server.codec.graphs import student_to_onnx
from microdose_server.codec.hyperprior import scale_table
from microdose_server.codec.integer import MEAN_BITS, scale_thresholds
from microdose_server.codec.offsets import constant_offsets
from microdose_server.codec.student import Student, kmac_per_pixel

HYPER_CLAMP = 63
DOSE_SCALES = tuple(0.02 * 1.35**k for k in range(28))
"""Mean absolute values, in steps, of the rows of a dose: from almost all zeros to about 66."""


def export_base(
    name: str, teacher: str, hyper_graph: bytes, z_prior: EntropyBottleneck, student: Student
) -> LoadedBase:
    """The base of a teacher and a student. `teacher` is the digest of its weights."""
    student_graph = student_to_onnx(student)
    document = Base(
        name=name,
        teacher=teacher,
        latent_channels=student.latent_channels,
        hyper_channels=z_prior.channels,
        mean_bits=MEAN_BITS,
        hyper_clamp=HYPER_CLAMP,
        student=_describe(student_graph, STUDENT_TYPE),
        hyper=_describe(hyper_graph, HYPER_TYPE),
        scale_thresholds=tuple(scale_thresholds()),
        tables=Tables(
            y=gaussian_tables(scale_table()), z=factorised_tables(z_prior), dose=laplace_tables(DOSE_SCALES)
        ),
        tensors=tensor_slots(student, student_graph),
        kmac_per_pixel=kmac_per_pixel(student),
        parameters=sum(parameter.numel() for parameter in student.parameters()),
    )
    return LoadedBase(digest_of(document.to_bytes()), document, student_graph, hyper_graph)


def _describe(data: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest_of(data), size=len(data))


@torch.no_grad()
def factorised_tables(z_prior: EntropyBottleneck) -> TableSet:
    """One table per channel: the prior's likelihood of each integer, cut where it falls below 2^-18."""
    symbols = torch.arange(-HYPER_CLAMP, HYPER_CLAMP + 1, dtype=torch.float32)
    channels = z_prior.channels
    grid = symbols.expand(1, channels, 1, len(symbols)).contiguous()
    likelihood = z_prior(grid, training=False)[1][0, :, 0].double().numpy()
    rows = []
    for pmf in likelihood:
        likely = np.flatnonzero(pmf > 2.0**-18)
        first, last = (likely[0], likely[-1]) if len(likely) else (HYPER_CLAMP, HYPER_CLAMP)
        kept = pmf[first : last + 1]
        rows.append((int(first) - HYPER_CLAMP, (kept / max(1.0, kept.sum())).tolist()))
    return tables_from_pmf(rows)


def tensor_slots(student: Student, graph: bytes) -> tuple[TensorSlot, ...]:
    """Where the tensors that a dose may change lie in the student's graph."""
    slots, offsets = [], constant_offsets(graph)
    for name, parameter in student.named_parameters():
        if student.may_change(name):
            length = 4 * parameter.numel()
            shape = tuple(parameter.shape)
            slot = TensorSlot(name=name, offset=offsets[name], length=length, shape=shape, kind=_kind(name))
            slots.append(slot)
    return tuple(slots)


def _kind(name: str) -> Literal["weight", "bias", "gain"]:
    if name.endswith("gain"):
        return "gain"
    return "bias" if name.endswith("bias") else "weight"
