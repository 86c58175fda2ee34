"""How long a picture takes to decode: the teacher, every student, and HiFiC itself, on the same engine.

    segment --entropy--> symbols --hyper--> y_hat --synthesis--> pixels
               the same for teacher and students     each its own network

Speed depends on a network's shape, not on its training: presets that do not ship, HiFiC among them, have
random weights. On torch, and of HiFiC, only the synthesis is timed: HiFiC's entropy decoding and its
hyper-synthesis would come on top, so its `time_ratio` errs on its side. `figures` are those at the most
threads, on onnxruntime unless their name ends in torch.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn

from microdose.base import LoadedBase
from microdose.decoder import Decoder
from microdose.errors import MicrodoseError
from microdose.latents import Floats
from microdose.segment import latent_side
from microdose_client.progress import Report, Step, reporter
from microdose_server.codec.encode import Encoder
from microdose_server.codec.folder import STANDARD, load_bases
from microdose_server.codec.graphs import generator_to_onnx, student_to_onnx
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.shipped import load_teacher
from microdose_server.codec.student import STUDENTS, Student, build_student, student_from_onnx
from microdose_server.codec.teacher import Generator
from microdose_server.evaluate.engines import graph_painter, torch_painter
from microdose_server.evaluate.machine import machine
from microdose_server.evaluate.metrics import Pixels
from microdose_server.evaluate.timing import Decode, Stages, best, synthesis, take_turns, whole
from microdose_server.intake.picture import read_picture

TEACHER, HIFIC = "teacher", "hific"
ONNXRUNTIME, TORCH = "onnxruntime", "torch"
SIZES = ((768, 512), (1920, 1080))
SHORT = {"1920x1080": "1080p"}


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
class Scene:
    """A coded picture of width x height pixels: its segment and y_hat [C, h, w]."""

    width: int
    height: int
    segment: bytes
    y_hat: Floats

    @property
    def size(self) -> str:
        """As people write it."""
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, eq=False)
class Field:
    """What is timed: generators and students by name, and which of the students ships with the base."""

    base: LoadedBase
    generators: Mapping[str, Generator]
    students: Mapping[str, Student]
    shipped: str

    @property
    def networks(self) -> dict[str, nn.Module]:
        """All of them."""
        return {**self.generators, **self.students}

    def graphs(self) -> dict[str, bytes]:
        """All of them as ONNX. HiFiC's takes 0.6 GB, and five times that while it is made."""
        generators = {name: generator_to_onnx(network) for name, network in self.generators.items()}
        return generators | {name: student_to_onnx(network) for name, network in self.students.items()}


def line_up(bases: Mapping[str, LoadedBase], teacher: Generator, hific: bool) -> Field:
    """The teacher, the students that ship with it, the other presets of students, and HiFiC if wanted."""
    shipped = STANDARD if STANDARD in bases else min(bases)
    others = sorted(STUDENTS.keys() - bases.keys() - {"tiny"})
    students = {name: student_from_onnx(base.student) for name, base in bases.items()}
    students |= {name: build_student(STUDENTS[name], teacher) for name in others}
    generators = {TEACHER: teacher} | ({HIFIC: Generator(PRESETS[HIFIC])} if hific else {})
    return Field(bases[shipped], generators, students, shipped)


def size(text: str) -> tuple[int, int]:
    """(width, height) of "768x512"; raises ValueError for anything else."""
    width, height = text.split("x")
    return int(width), int(height)


def pink(width: int, height: int) -> Pixels:
    """Grey noise with the spectrum of photographs, 1/f."""
    noise = np.fft.rfft2(np.random.default_rng(0).normal(size=(height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    shaped = np.fft.irfft2(noise / np.maximum(frequency, 1 / width), (height, width))
    grey = np.clip(128 + 50 * (shaped - shaped.mean()) / shaped.std(), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def scene(encoder: Encoder, file: Path | None, width: int, height: int) -> Scene:
    """The file's picture, scaled and cropped to the size, or an artificial one, coded."""
    pixels = pink(width, height)
    if file:
        image = Image.fromarray(read_picture(file.read_bytes()).pixels)
        pixels = np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS))
    encoded = encoder.encode(pixels)
    return Scene(width, height, encoded.segment, encoded.y_hat)


def latents(name: str, shown: Scene) -> Floats:
    """What a network paints from; HiFiC, which has another number of channels, from noise."""
    if name != HIFIC:
        return shown.y_hat
    shape = PRESETS[HIFIC].latent_channels, latent_side(shown.height), latent_side(shown.width)
    return np.random.default_rng(0).normal(0, 2, shape).astype(np.float32)


def on_onnxruntime(
    field: Field, graphs: Mapping[str, bytes], shown: Scene, threads: int
) -> dict[str, Decode]:
    """Everything in the viewer's own decoder, but HiFiC, which has no base."""
    decoders = {
        name: whole(Decoder(replace(field.base, student=graph), threads=threads), shown.segment)
        for name, graph in graphs.items()
        if name != HIFIC
    }
    if HIFIC in graphs:
        decoders[HIFIC] = synthesis(graph_painter(graphs[HIFIC], threads), latents(HIFIC, shown))
    return decoders


def on_torch(field: Field, shown: Scene, threads: int, device: str) -> dict[str, Decode]:
    """Every network's synthesis."""
    torch.set_num_threads(threads)
    return {
        name: synthesis(torch_painter(network, device=device), latents(name, shown))
        for name, network in field.networks.items()
    }


def count(field: Field) -> dict[str, int]:
    """Weights of every network; hyper-synthesis is counted for none."""
    return {name: sum(each.numel() for each in net.parameters()) for name, net in field.networks.items()}


def time_scene(
    field: Field, graphs: Mapping[str, bytes], shown: Scene, threads: int, args: argparse.Namespace
) -> list[Row]:
    """Every decoder on every engine at one size and thread count."""
    timed = {ONNXRUNTIME: take_turns(on_onnxruntime(field, graphs, shown, threads), args.rounds)}
    if args.torch:
        timed[TORCH] = take_turns(on_torch(field, shown, threads, args.torch), args.rounds)
    return [
        Row(name, engine, threads, shown.size, best(decodes), len(decodes))
        for engine, found in timed.items()
        for name, decodes in found.items()
    ]


def figures(rows: Sequence[Row], field: Field, symbols: int) -> dict[str, Any]:
    """What is quoted. `symbols`: how many latents y has at the first row's size."""
    threads, parameters = max(row.threads for row in rows), count(field)
    at = {(row.engine, row.size, row.decoder): row.stages for row in rows if row.threads == threads}
    found: dict[str, Any] = {"threads": threads, "student": field.shipped, "fps": {}}
    for name in field.generators:
        found[f"params_ratio_{name}"] = parameters[name] / parameters[field.shipped]
    for engine, size, name in at:
        student, own = at[engine, size, field.shipped], at[engine, size, name]
        ending = SHORT.get(size, size) + (f"_{TORCH}" if engine == TORCH else "")
        if name in field.generators:
            found[f"synthesis_ratio_{name}_{ending}"] = own.synthesis_ms / student.synthesis_ms
        if engine == ONNXRUNTIME and name in field.generators:
            found[f"time_ratio_{name}_{ending}"] = own.total_ms / student.total_ms
        if engine == ONNXRUNTIME and name in field.students:
            found["fps"][f"{name}_{ending}"] = 1e3 / own.total_ms
    entropy_ms = at[ONNXRUNTIME, rows[0].size, field.shipped].entropy_ms
    return found | {"entropy_msym_s": symbols / entropy_ms / 1e3 if entropy_ms else None}


def table(found: Mapping[str, Any]) -> str:
    """All rows, for people; a dash for a stage that was not run."""
    lines = ["decoder    engine       threads  size        entropy    hyper  synthesis      total, ms   runs"]
    for row in found["rows"]:
        entropy, hyper = (
            "-" if row[stage] is None else f"{row[stage]:.1f}" for stage in ("entropy_ms", "hyper_ms")
        )
        lines.append(
            f"{row['decoder']:11}{row['engine']:13}{row['threads']:7}  {row['size']:10}{entropy:>9}{hyper:>9}"
            f"{row['synthesis_ms']:11.1f}{row['total_ms']:15.1f}{row['runs']:7}"
        )
    lines += [f"{name}: {value}" for name, value in found["figures"].items()]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        description="Time the teacher, the students and HiFiC's shape as decoders on the same engine.",
        epilog="example: benchmarks/decode.py --picture kodim23.png --hific --torch cpu --json > decode.json",
    )
    found.add_argument("--picture", type=Path, metavar="FILE", help="what to decode (default: 1/f noise)")
    found.add_argument(
        "--sizes", nargs="+", type=size, default=SIZES, metavar="WxH", help="default: 768x512 1920x1080"
    )
    found.add_argument("--threads", type=int, nargs="+", default=(1, 2), metavar="N", help="default: 1 2")
    found.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="turns of each decoder (default: 5)"
    )
    found.add_argument("--hific", action="store_true", help="HiFiC's generator too: 5 GB of memory, minutes")
    found.add_argument("--torch", metavar="DEVICE", help="the synthesis on torch too, on cpu or cuda")
    found.add_argument("--weights", type=Path, metavar="FOLDER", help="another teacher than the shipped one")
    found.add_argument("--json", action="store_true", help="print everything as JSON")
    return found


def run(args: argparse.Namespace, progress: Report) -> dict[str, Any]:
    """Code the picture at every size, time everything."""
    teacher, bases = load_teacher(folder=args.weights), load_bases(args.weights)
    field = line_up(bases, teacher.g_s, args.hific)
    encoder = Encoder(teacher=teacher, base=field.base)
    scenes, graphs, rows = [scene(encoder, args.picture, *each) for each in args.sizes], field.graphs(), []
    settings = [(shown, threads) for shown in scenes for threads in args.threads]
    for n, (shown, threads) in enumerate(settings):
        progress(Step("timing", n, len(settings), f"{shown.size}, {threads} threads"))
        rows += time_scene(field, graphs, shown, threads, args)
    progress(Step("timing", len(settings), len(settings)))
    return {
        "figures": figures(rows, field, scenes[0].y_hat.size),
        "parameters": count(field),
        "picture": args.picture.name if args.picture else "1/f noise",
        "torch_device": args.torch,
        "rows": [row.to_json() for row in rows],
        "machine": machine(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 with one line on stderr."""
    args = parser().parse_args(argv)
    try:
        with reporter() as progress:
            found = run(args, progress)
    except MicrodoseError as error:
        print(f"decode.py: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found, indent=2) if args.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
