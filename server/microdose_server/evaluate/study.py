"""How a sequence looks in every variant, and what each costs with every byte counted.

pictures --teacher--> segments, y_hat, targets
             |-- generic student --------> decoded as viewers do --.
             '-- a dose of some rung -----> the same ---------------|--> quality to the teacher's pictures
                                                                         and to the originals
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
from torch import nn

from microdose.base import LoadedBase
from microdose.decoder import Decoder
from microdose.digest import digest_of
from microdose.dose import DoseKind, dosed_student
from microdose.engine import Graph, hyper_from
from microdose.ids import new_id
from microdose.latents import decode_picture
from microdose.resources import DoseAim, DoseChoice, Frame
from microdose.segment import parse_segment
from microdose_server.codec.encode import Encoder
from microdose_server.codec.student import student_from_onnx
from microdose_server.distil.rate import DEFAULT_LMBDA
from microdose_server.distil.refine import Refinement, Refiner
from microdose_server.distil.specialise import Budget, Dosed, OverfitRecipe, Progress, Target, specialise
from microdose_server.evaluate.flicker import flicker
from microdose_server.evaluate.quality import Quality, qualities
from microdose_server.jobs.publication import Coded, Epoch, make_publication
from microdose_server.training.data import Pixels
from microdose_server.training.precision import placed


@dataclass(frozen=True, eq=False)
class Shown:
    """A way to show the sequence: its pictures, and what they cost with every byte but the base's. `made`:
    with this dose, if with one; `seconds`: what it took to distil, or to refine latents.
    """

    name: str
    pictures: Sequence[Pixels]
    total_bytes: int
    made: Dosed | None = None
    seconds: float = 0.0

    @property
    def dose_bytes(self) -> int:
        """How many of the bytes are a dose's."""
        return len((self.made and self.made.dose) or b"")


@dataclass(frozen=True)
class Variant:
    """A way to show the sequence, judged. `seconds`: what it took to distil, or to refine; `bpp_total` has
    every byte but the base's; `flicker` is held against the originals (None: no two pictures of one size).
    """

    name: str
    dose_bytes: int
    bpp_total: float
    seconds: float
    to_teacher: Quality
    to_original: Quality
    flicker: float | None


@dataclass(frozen=True, eq=False)
class Study:
    """A sequence, coded once by the teacher. `dists_of`: how many pictures DISTS is measured on; `lmbda`:
    the distortion that a bit per pixel may cost; `recipe`: of doses, if not the usual one.
    """

    base: LoadedBase
    originals: Sequence[Pixels]
    segments: Sequence[bytes]
    targets: Sequence[Target]
    dists_of: int
    lmbda: float = DEFAULT_LMBDA
    recipe: OverfitRecipe | None = None

    @classmethod
    def of(
        cls,
        encoder: Encoder,
        originals: Sequence[Pixels],
        dists_of: int,
        lmbda: float = DEFAULT_LMBDA,
        recipe: OverfitRecipe | None = None,
    ) -> "Study":
        """Code a sequence."""
        encoded = [encoder.encode(picture) for picture in originals]
        targets = [Target(each.y_hat, each.x_hat, each.tower) for each in encoded]
        segments = [each.segment for each in encoded]
        return cls(encoder.base, originals, segments, targets, dists_of, lmbda, recipe)

    @property
    def pixels(self) -> int:
        """Of all pictures."""
        return sum(picture.shape[0] * picture.shape[1] for picture in self.originals)

    @property
    def painted(self) -> list[Pixels]:
        """The teacher's pictures."""
        return [target.pixels for target in self.targets]

    def judge(self, ways: Sequence[Shown]) -> dict[str, Variant]:
        """By names. What they are held against is embedded once for all that are judged together."""
        found = qualities([self.painted, self.originals], [way.pictures for way in ways], self.dists_of)
        return {way.name: self._judged(way, *near) for way, near in zip(ways, found, strict=True)}

    def _judged(self, way: Shown, to_teacher: Quality, to_original: Quality) -> Variant:
        bpp = 8.0 * way.total_bytes / self.pixels
        moving = flicker(self.originals, way.pictures)
        return Variant(way.name, way.dose_bytes, bpp, way.seconds, to_teacher, to_original, moving)

    def total_bytes(self, dose: bytes | None, kind: DoseKind) -> int:
        """Everything that a published sequence costs: latents, dose, headers, manifest."""
        pictures = []
        for n, (picture, segment) in enumerate(zip(self.originals, self.segments, strict=True)):
            height, width, _ = picture.shape
            frame = Frame(n=n, digest=digest_of(b""), size=0, width=width, height=height, name=f"{n:05}.png")
            pictures.append(Coded(frame, segment))
        return make_publication(
            new_id(), "study", self.base, pictures, [Epoch(kind, dose)]
        ).manifest.bytes.total

    def teacher(self) -> Shown:
        """The teacher's own pictures."""
        return Shown("teacher", self.painted, self.total_bytes(None, DoseKind.NONE))

    def generic(self, name: str = "generic", student: bytes | None = None) -> Shown:
        """A student without a dose: the base's, or another of its shape."""
        base = self.base if student is None else replace(self.base, student=student)
        return Shown(name, self.decode(Decoder(base)), self.total_bytes(None, DoseKind.NONE))

    def aimed_at(self, aim: DoseAim) -> list[Target]:
        """What a dose of that aim is trained towards."""
        if aim is DoseAim.TEACHER:
            return list(self.targets)
        return [
            Target(target.y_hat, picture)
            for target, picture in zip(self.targets, self.originals, strict=True)
        ]

    def distilled(
        self, choice: DoseChoice, aim: DoseAim, budget: Budget, report: Callable[[Progress], None]
    ) -> Dosed:
        """What a worker would send."""
        return specialise(
            self.base,
            self.aimed_at(aim),
            choice=choice,
            lmbda=self.lmbda,
            budget=budget,
            epoch=0,
            report=report,
            recipe=self.recipe,
        )

    def dosed(
        self,
        choice: DoseChoice,
        aim: DoseAim,
        budget: Budget,
        report: Callable[[Progress], None],
        name: str | None = None,
    ) -> Shown:
        """A dose of one rung, trained, coded, applied and shown as viewers see it."""
        begin = perf_counter()
        made = self.distilled(choice, aim, budget, report)
        seconds = perf_counter() - begin
        shown = self.decode(Decoder(self.base, *filter(None, [made.dose])))
        size = self.total_bytes(made.dose, made.kind)
        return Shown(name or choice.value, shown, size, made, seconds)

    def refined(
        self, way: Shown, encoder: Encoder, recipe: Refinement, report: Callable[[int], None], name: str
    ) -> Shown:
        """A student's way to show the sequence, with latents refined for that; `report`: pictures done."""
        made = way.made or Dosed(None, DoseKind.NONE, 0.0, 0.0)
        doses = [made.dose] if made.dose else []
        student = student_from_onnx(dosed_student(self.base, doses)).requires_grad_(False)
        segments, seconds = self._refine(encoder, student, recipe, report)
        again = replace(self, segments=segments)
        size = again.total_bytes(made.dose, made.kind)
        return Shown(name, again.decode(Decoder(self.base, *doses)), size, way.made, seconds)

    def refined_teacher(
        self, encoder: Encoder, recipe: Refinement, report: Callable[[int], None], name: str
    ) -> Shown:
        """What the teacher paints of latents that are refined for it."""
        segments, seconds = self._refine(encoder, encoder.teacher.g_s, recipe, report)
        hyper = hyper_from(Graph(self.base.hyper))
        latents = [decode_picture(parse_segment(segment), self.base, hyper) for segment in segments]
        shown = [
            encoder.decode(y_hat, *picture.shape[:2])
            for y_hat, picture in zip(latents, self.originals, strict=True)
        ]
        return Shown(
            name, shown, replace(self, segments=segments).total_bytes(None, DoseKind.NONE), None, seconds
        )

    def _refine(
        self, encoder: Encoder, decoder: nn.Module, recipe: Refinement, report: Callable[[int], None]
    ) -> tuple[list[bytes], float]:
        """(segments, seconds) of the originals, refined for a frozen decoder."""
        refiner, segments, begin = Refiner(self.base, recipe, encoder.device), list[bytes](), perf_counter()
        decoder = placed(decoder, encoder.device)
        for picture in self.originals:
            segments.append(refiner.code(encoder.latents(picture), picture, decoder)[0])
            report(len(segments))
        return segments, perf_counter() - begin

    def decode(self, decoder: Decoder) -> list[Pixels]:
        """Every picture as a viewer's decoder shows it."""
        return [decoder.decode(segment).pixels for segment in self.segments]


def gap_closed(variant: Variant, generic: Variant) -> float:
    """The share of the generic student's LPIPS to the teacher that a dose takes away."""
    return 1.0 - variant.to_teacher.lpips / generic.to_teacher.lpips


def cost(variant: Variant, lmbda: float) -> float:
    """Distortion to the teacher + lmbda * bpp: what the rate search minimises."""
    return variant.to_teacher.distortion + lmbda * variant.bpp_total


def break_even(variant: Variant, generic: Variant, pixels_per_picture: float, lmbda: float) -> int | None:
    """From how many such pictures on the dose is worth its bytes; None if it never is."""
    saved = generic.to_teacher.distortion - variant.to_teacher.distortion
    if saved <= 0.0:
        return None
    return max(1, int(np.ceil(lmbda * 8.0 * variant.dose_bytes / pixels_per_picture / saved)))


def to_json(variants: Mapping[str, Variant]) -> dict[str, Any]:
    """All variants with all their numbers."""
    return {
        name: {
            "dose_bytes": variant.dose_bytes,
            "bpp_total": variant.bpp_total,
            "seconds": variant.seconds,
            "to_teacher": vars(variant.to_teacher),
            "to_original": vars(variant.to_original),
            "flicker": variant.flicker,
        }
        for name, variant in variants.items()
    }
