#!/usr/bin/env python
"""How long a picture takes to decode: the teacher, every student, and HiFiC itself, on the same engine.

    segment --entropy--> symbols --hyper--> y_hat --head, MicroRN or tower, tail--> pixels
               the same for teacher and students     each its own network

Speed depends on a network's shape, not on its training: what does not ship, HiFiC among it, has random
weights. A decoder's whole time is that of the viewer's own decoder; head, MicroRN and tail are then timed as
graphs of their own, cut from the whole. On torch only the synthesis is timed, and so it is of HiFiC and of
`hific-paper`, the paper's own student of it, and in parts alone: HiFiC's entropy decoding and
hyper-synthesis would come on top, so `time_ratio_hific` errs on its side. `figures` are those at the most
threads, on onnxruntime unless their name ends in torch.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from microdose.base import LoadedBase
from microdose.decoder import Decoder
from microdose.latents import Floats, hyper_shape
from microdose.segment import latent_side, parse_segment
from microdose_client.progress import Report, Step, reporter
from microdose_server.codec.encode import Encoder
from microdose_server.codec.folder import STANDARD, load_bases
from microdose_server.codec.graphs import generator_to_onnx, student_to_onnx
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.shipped import check_base, load_teacher
from microdose_server.codec.student import STUDENTS, Student, build_student, student_from_onnx
from microdose_server.codec.teacher import Generator
from microdose_server.evaluate import program
from microdose_server.evaluate.engines import torch_painter
from microdose_server.evaluate.machine import machine
from microdose_server.evaluate.parts import Parts, chain, cut
from microdose_server.evaluate.scene import Scene, scene
from microdose_server.evaluate.timing import (
    Decode,
    Stages,
    best,
    in_parts,
    parts_alone,
    synthesis,
    take_turns,
    whole,
)
from microdose_server.training import options
from microdose_server.training.peers import must_be_here

TEACHER, HIFIC, HIFIC_PAPER = "teacher", "hific", "hific-paper"
ONNXRUNTIME, TORCH = "onnxruntime", "torch"
SIZES = ((768, 512), (1920, 1080))
SHORT = {"1920x1080": "1080p"}
Ways = dict[str, list[Decode]]
"""How each decoder is timed: whole, in parts, or both."""
CLAIMS = {"params_ratio": 20.0, "time_ratio": 2.0}
"""What Helminger et al. (2021) say of their student against HiFiC's decoder: a 20th of the parameters, half
the time."""


@dataclass(frozen=True)
class Row:
    """A decoder under one setting: its best times, and how often it ran."""

    decoder: str
    engine: str
    threads: int
    size: str
    stages: Stages
    runs: int

    def to_json(self) -> dict[str, Any]:
        """All of it side by side, with the sum of the stages."""
        setting = {"decoder": self.decoder, "engine": self.engine, "threads": self.threads, "size": self.size}
        return setting | self.stages._asdict() | {"total_ms": self.stages.total_ms, "runs": self.runs}


@dataclass(frozen=True, eq=False)
class Field:
    """What is timed, by name: the teacher and its students, and what belongs to HiFiC, if wanted."""

    base: LoadedBase
    networks: Mapping[str, Generator | Student]
    foreign: Mapping[str, Generator | Student]
    shipped: str

    def all(self) -> dict[str, Generator | Student]:
        """All networks."""
        return {**self.networks, **self.foreign}

    def students(self) -> list[str]:
        """The teacher's students."""
        return [name for name, network in self.networks.items() if isinstance(network, Student)]


def line_up(bases: Mapping[str, LoadedBase], teacher: Generator, hific: bool) -> Field:
    """The teacher, the students that ship with it, the other presets of students, and HiFiC if wanted."""
    shipped = STANDARD if STANDARD in bases else min(bases)
    networks: dict[str, Generator | Student] = {TEACHER: teacher}
    networks |= {name: student_from_onnx(base.student) for name, base in bases.items()}
    others = sorted(STUDENTS.keys() - bases.keys() - {"tiny"})
    networks |= {name: build_student(STUDENTS[name], teacher) for name in others}
    foreign: dict[str, Generator | Student] = {}
    if hific:
        foreign[HIFIC] = generator = Generator(PRESETS[HIFIC])
        foreign[HIFIC_PAPER] = build_student(STUDENTS["paper"], generator)
    return Field(bases[shipped], networks, foreign, shipped)


def to_onnx(network: Generator | Student) -> bytes:
    """A network as a graph. HiFiC's takes 0.6 GB, and five times that while it is made."""
    return student_to_onnx(network) if isinstance(network, Student) else generator_to_onnx(network)


def latents(name: str, shown: Scene) -> Floats:
    """What a network paints from; HiFiC's, which have another number of channels, from noise."""
    if name not in (HIFIC, HIFIC_PAPER):
        return shown.y_hat
    shape = PRESETS[HIFIC].latent_channels, latent_side(shown.height), latent_side(shown.width)
    return np.random.default_rng(0).normal(0, 2, shape).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Graphs:
    """Networks as ONNX: whole, where a base can hold them, and cut; only cut, of what is HiFiC's."""

    whole: Mapping[str, bytes]
    own: Mapping[str, Parts]
    foreign: Mapping[str, Parts]

    @classmethod
    def of(cls, field: Field) -> "Graphs":
        """All networks of a field."""
        graphs = {name: to_onnx(network) for name, network in field.networks.items()}
        own = {name: cut(graph) for name, graph in graphs.items()}
        return cls(graphs, own, {name: cut(to_onnx(network)) for name, network in field.foreign.items()})

    def on_onnxruntime(self, base: LoadedBase, shown: Scene, threads: int) -> Ways:
        """What of a base can be is timed in the viewer's own decoder, and in parts; the rest in parts."""
        decoders: Ways = {}
        for name, graph in self.whole.items():
            decoder = Decoder(replace(base, student=graph), threads=threads)
            parts = parts_alone(chain(self.own[name], threads), shown.y_hat)
            decoders[name] = [whole(decoder, shown.segment), parts]
        for name, cuts in self.foreign.items():
            decoders[name] = [in_parts(chain(cuts, threads), latents(name, shown))]
        return decoders


def on_torch(networks: Mapping[str, nn.Module], shown: Scene, threads: int, device: str) -> Ways:
    """Every network's synthesis."""
    torch.set_num_threads(threads)
    return {
        name: [synthesis(torch_painter(network, device=device), latents(name, shown))]
        for name, network in networks.items()
    }


def count(field: Field) -> dict[str, int]:
    """Weights of every network, and of HiFiC's even if it is not timed; hyper-synthesis is in none."""
    with torch.device("meta"):
        hific: Generator | Student = Generator(PRESETS[HIFIC])
    networks = {HIFIC: hific, **field.all()}
    return {name: sum(each.numel() for each in net.parameters()) for name, net in networks.items()}


def time_all(field: Field, scenes: Sequence[Scene], args: argparse.Namespace, progress: Report) -> list[Row]:
    """Every decoder on every engine, at every size and thread count."""
    graphs, rows = Graphs.of(field), []
    settings = [(shown, threads) for shown in scenes for threads in args.threads]
    for n, (shown, threads) in enumerate(settings):
        progress(Step("timing", n, len(settings), f"{shown.size}, {threads} threads"))
        decoders = graphs.on_onnxruntime(field.base, shown, threads)
        timed = {ONNXRUNTIME: take_turns(decoders, args.rounds)}
        del decoders
        if args.torch:
            timed[TORCH] = take_turns(on_torch(field.all(), shown, threads, args.torch), args.rounds)
        rows += [
            Row(name, engine, threads, shown.size, best(decodes), len(decodes))
            for engine, found in timed.items()
            for name, decodes in found.items()
        ]
    progress(Step("timing", len(settings), len(settings)))
    return rows


def symbols(shown: Scene, base: LoadedBase) -> int:
    """How many of y and z are entropy-decoded for a picture."""
    return shown.y_hat.size + prod(hyper_shape(parse_segment(shown.segment).header, base.document))


def painting(stages: Stages) -> float:
    """Milliseconds of a synthesis, which all are timed in."""
    assert stages.synthesis_ms is not None
    return stages.synthesis_ms


def figures(rows: Sequence[Row], field: Field, decoded: int) -> dict[str, Any]:
    """What is quoted. `decoded`: how many symbols a picture of the first row's size has."""
    threads, parameters = max(row.threads for row in rows), count(field)
    at = {(row.engine, row.size, row.decoder): row.stages for row in rows if row.threads == threads}
    found: dict[str, Any] = {"threads": threads, "student": field.shipped, "fps": {}}
    for name in (TEACHER, HIFIC):
        found[f"params_ratio_{name}"] = parameters[name] / parameters[field.shipped]
    for engine, size, name in at:
        student, own = at[engine, size, field.shipped], at[engine, size, name]
        ending = SHORT.get(size, size) + (f"_{TORCH}" if engine == TORCH else "")
        if name in (TEACHER, HIFIC):
            found[f"synthesis_ratio_{name}_{ending}"] = painting(own) / painting(student)
        if engine == ONNXRUNTIME and name in (TEACHER, HIFIC):
            found[f"time_ratio_{name}_{ending}"] = own.total_ms / student.total_ms
        if engine == ONNXRUNTIME and name in field.students():
            found["fps"][f"{name}_{ending}"] = 1e3 / own.total_ms
    if HIFIC_PAPER in field.foreign:
        hific, paper = (at[ONNXRUNTIME, rows[0].size, name] for name in (HIFIC, HIFIC_PAPER))
        ratios = parameters[HIFIC] / parameters[HIFIC_PAPER], painting(hific) / painting(paper)
        measured = dict(zip(CLAIMS, ratios, strict=True))
        found["paper"] = {name: {"claimed": CLAIMS[name], "measured": measured[name]} for name in CLAIMS}
    # One thread does the same work for every decoder: its best time is the best of all of theirs.
    times = [row.stages.entropy_ms for row in rows if row.size == rows[0].size]
    entropy_ms = min((each for each in times if each), default=None)
    return found | {"entropy_msym_s": decoded / entropy_ms / 1e3 if entropy_ms else None}


def table(found: Mapping[str, Any]) -> str:
    """All rows, for people; a dash for a stage that was not run."""
    stages = ("entropy_ms", "hyper_ms", "synthesis_ms", "head_ms", "micro_ms", "tail_ms", "total_ms")
    titles = "".join(f"{stage.removesuffix('_ms'):>10}" for stage in stages)
    lines = [f"decoder     engine      threads  size      {titles}, ms   runs"]
    for row in found["rows"]:
        times = "".join("         -" if row[stage] is None else f"{row[stage]:10.1f}" for stage in stages)
        setting = f"{row['decoder']:12}{row['engine']:12}{row['threads']:7}  {row['size']:10}"
        lines.append(f"{setting}{times}{row['runs']:11}")
    lines += [f"{name}: {value}" for name, value in found["figures"].items()]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = program.parser(
        "Time the teacher, the students and HiFiC's shape as decoders on the same engine.",
        "benchmarks/decode.py --picture kodim23.png --json > decode.json",
    )
    gpu = "cuda" if torch.cuda.is_available() else None
    sizes_help = "default: 768x512 1920x1080"
    hific_help = "HiFiC's generator too: minutes, 5 GB of memory, 20 GB at 1920x1080 (default: yes)"
    torch_help = "the synthesis on torch too (cuda where there is one)"
    add = found.add_argument
    add("--picture", type=Path, metavar="FILE", help="what to decode (default: 1/f noise)")
    add("--sizes", nargs="+", type=program.size, default=SIZES, metavar="WxH", help=sizes_help)
    add("--threads", type=options.count, nargs="+", default=(1, 2), metavar="N", help="default: 1 2")
    add("--rounds", type=options.count, default=5, metavar="N", help="turns of each decoder (default: 5)")
    add("--hific", action=argparse.BooleanOptionalAction, default=True, help=hific_help)
    add("--torch", type=options.device, metavar="DEVICE", default=gpu, help=torch_help)
    add("--weights", type=Path, metavar="DIR", help="another teacher than the shipped one")
    return found


def run(args: argparse.Namespace, progress: Report) -> dict[str, Any]:
    """Code the picture at every size, time everything."""
    if args.torch:
        must_be_here(args.torch)
    teacher, bases = load_teacher(folder=args.weights), load_bases(args.weights)
    for base in bases.values():
        check_base(base, args.weights)
    field = line_up(bases, teacher.g_s, args.hific)
    encoder = Encoder(teacher=teacher, base=field.base)
    scenes = [scene(encoder, args.picture, *each) for each in args.sizes]
    rows = time_all(field, scenes, args, progress)
    return {
        "figures": figures(rows, field, symbols(scenes[0], field.base)),
        "parameters": count(field),
        "picture": args.picture.name if args.picture else "1/f noise",
        "torch_device": args.torch,
        "rows": [row.to_json() for row in rows],
        "machine": machine(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 with one line on stderr."""
    return program.perform("decode.py", parser().parse_args(argv), run, reporter(), table)


if __name__ == "__main__":
    sys.exit(main())
