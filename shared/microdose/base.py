"""The base: what every client needs once per teacher. Its digest is the teacher's public identity.

    base document (JSON): tables, thresholds, tensor slots
      |-- student graph (ONNX)   y_hat f32[1,C,h,w]  -> x_hat f32[1,3,16h,16w], nominally 0..1
      '-- hyper graph (ONNX)     z_hat f32[1,Cz,h,w] -> scale, mean f32[1,C,4h,4w], integers

The document names both graphs by descriptors, so that its own digest covers them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Annotated, Literal

from pydantic import Field, model_validator

from microdose.digest import MAX_BLOB_BYTES, Digest, digest_of, prefix, verify
from microdose.document import Document, parse_document
from microdose.errors import CorruptStream, DoseMismatch
from microdose.tables import TableSet

MAX_BASE_BYTES = 16 * 2**20

Threshold = Annotated[int, Field(ge=1, le=2**20)]
Extent = Annotated[int, Field(ge=1, le=2**20)]


class Descriptor(Document):
    """A typed pointer to a blob."""

    media_type: str = Field(max_length=100)
    digest: Digest
    size: int = Field(ge=0, le=MAX_BLOB_BYTES)


class TensorSlot(Document):
    """Where a float32 tensor that a dose may change lies in the bytes of the student graph."""

    name: str = Field(max_length=200)
    offset: int = Field(ge=0, lt=MAX_BLOB_BYTES)
    length: int = Field(ge=4, le=MAX_BLOB_BYTES)
    shape: tuple[Extent, ...] = Field(min_length=1, max_length=6)
    kind: Literal["weight", "bias", "gain"]

    @model_validator(mode="after")
    def _check(self) -> "TensorSlot":
        if self.length != 4 * prod(self.shape):
            raise ValueError(f"tensor {self.name} of shape {self.shape} cannot be {self.length} bytes long")
        return self


class Tables(Document):
    """Entropy tables of the latents (one per scale index), the hyper-latents (one per channel) and doses."""

    y: TableSet
    z: TableSet
    dose: TableSet


class Base(Document):
    """The base document. `mean` comes in units of 2**-mean_bits, z lies within +-hyper_clamp."""

    format: Literal["microdose-base"] = "microdose-base"
    version: Literal[1] = 1
    name: str = Field(max_length=100)
    teacher: Digest
    latent_channels: int = Field(ge=1, le=1024)
    hyper_channels: int = Field(ge=1, le=1024)
    stride: Literal[16] = 16
    hyper_stride: Literal[4] = 4
    mean_bits: int = Field(ge=0, le=16)
    hyper_clamp: int = Field(ge=1, le=2**15)
    student: Descriptor
    hyper: Descriptor
    scale_thresholds: tuple[Threshold, ...] = Field(min_length=1, max_length=255)
    tables: Tables
    tensors: tuple[TensorSlot, ...] = Field(max_length=1024)
    kmac_per_pixel: float = Field(ge=0)
    parameters: int = Field(ge=0)

    @model_validator(mode="after")
    def _check(self) -> "Base":
        if any(low >= high for low, high in pairwise(self.scale_thresholds)):
            raise ValueError("scale_thresholds must increase")
        if len(self.tables.y) != len(self.scale_thresholds) + 1:
            raise ValueError(
                f"{len(self.tables.y)} tables for {len(self.scale_thresholds)} thresholds: one more is needed"
            )
        if len(self.tables.z) != self.hyper_channels:
            raise ValueError(f"{self.hyper_channels} hyper channels cannot use {len(self.tables.z)} tables")
        end = 0
        for slot in sorted(self.tensors, key=lambda slot: slot.offset):
            if slot.offset < end:
                raise ValueError(f"tensor {slot.name} overlaps the one before it")
            end = slot.offset + slot.length
        if end > self.student.size:
            raise ValueError(f"tensors end at byte {end} of a student graph of {self.student.size} bytes")
        return self


@dataclass(frozen=True, slots=True)
class LoadedBase:
    """A base document with the graphs it names, every byte verified."""

    digest: str
    document: Base
    student: bytes
    hyper: bytes

    @property
    def prefix(self) -> bytes:
        """8 bytes that segments and doses carry to say which base they belong to."""
        return prefix(self.digest)

    def slot(self, number: int) -> TensorSlot:
        """A tensor that a dose may change. Raises DoseMismatch if there are fewer."""
        if number >= len(self.document.tensors):
            raise DoseMismatch(f"dose changes tensor {number}, the base has {len(self.document.tensors)}")
        return self.document.tensors[number]


def load_base(document: bytes, fetch: Callable[[Descriptor], bytes]) -> LoadedBase:
    """Parse a base document and fetch its graphs.

    Raises CorruptStream (malformed document, wrong size), DigestMismatch, and whatever `fetch` raises.
    """
    base = parse_document(Base, document, MAX_BASE_BYTES)
    student, hyper = fetch_verified(base.student, fetch), fetch_verified(base.hyper, fetch)
    return LoadedBase(digest_of(document), base, student, hyper)


def fetch_verified(descriptor: Descriptor, fetch: Callable[[Descriptor], bytes]) -> bytes:
    """The bytes a descriptor names, or CorruptStream for a wrong size, DigestMismatch for wrong bytes."""
    data = fetch(descriptor)
    if len(data) != descriptor.size:
        raise CorruptStream(f"blob {descriptor.digest} has {len(data)} bytes, not {descriptor.size}")
    verify(data, descriptor.digest)
    return data
