#!/usr/bin/env python
"""How long a training step takes, against what this machine could do at best.

    batch --g_a--> y --hyperprior--> y_hat --g_s--> x_hat --MSE, LPIPS, rate--> gradients --Muon--> weights
    MACs of a step = those of each convolution, once forward and once for each gradient that it has to find,
                     and those of the matrix products in Muon
    roofline fraction = (MACs / step time) / (MACs / time of a large matrix product on the same threads)

Such a product is timed after every step, for machines are not equally fast all the time; of both, medians
count.

A layer has a gradient of its input and one of its weights; the picture needs none, nor do the weights of
LPIPS. A layer that is computed with more products than its kernel has counts as what its kernel has.
Norms, rectifiers, likelihoods and averages are not counted as work but take their time. On a GPU, products
and teacher are in bfloat16.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from microdose.errors import BadUpload
from microdose_client.progress import Report, Step, reporter
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Teacher
from microdose_server.evaluate import program
from microdose_server.evaluate.convolutions import Call, calls_of
from microdose_server.evaluate.machine import machine, peak_bytes
from microdose_server.training.adversarial import AdversarialRun
from microdose_server.training.batches import Batches
from microdose_server.training.data import Pixels
from microdose_server.training.denormal import flushed_denormals
from microdose_server.training.loop import Run
from microdose_server.training.lpips import LPIPS
from microdose_server.training.memory import keep_freed_memory
from microdose_server.training.options import count, crop_side, device, positive
from microdose_server.training.peers import joined
from microdose_server.training.photos import GIB, load_photos
from microdose_server.training.precision import placed
from microdose_server.training.recipe import Recipe, StageTwo

PROGRESS = 0.5
"""Everything in a recipe is active half-way."""
SIDE = {"cpu": 1536, "cuda": 8192}
"""Of the matrices whose product gives the machine's rate: large enough to fill it."""
SEEN = 16
"""Photographs at most, but with `--memory`: a step's time does not depend on what it sees."""


@dataclass(frozen=True)
class Row:
    """A preset's step: its time (the median), its work, and what share of the machine's rate that is."""

    preset: str
    stage: int
    step_s: float
    gmac: float
    optimizer_gmac: float
    gmac_per_s: float
    gemm_gmac_per_s: float
    """The machine's rate, by products between the steps."""
    roofline_fraction: float
    convolutions_alone_s: float | None
    """All its convolutions one by one, each at its best; None on a GPU, where work is only queued."""
    waiting: float
    peak_gib: float
    """Memory of the device that the steps needed; on a CPU, what the process has needed so far."""

    @property
    def steps_per_s(self) -> float:
        """As many as a second has of such steps."""
        return 1.0 / self.step_s


def step_work(run: Run, batches: Batches, lpips: LPIPS) -> tuple[list[Call], int]:
    """One step of the run: its convolutions, and the multiply-accumulates of its optimiser."""
    networks = [run.teacher, lpips, *([run.discriminator] if isinstance(run, AdversarialRun) else [])]
    with calls_of(networks) as calls:
        run.learn(batches, lpips, PROGRESS)
    with FlopCounterMode(display=False) as counter:
        run.optimizer.step()
    return calls, counter.get_total_flops() // 2


def product(device: str) -> Callable[[], float]:
    """What multiplies two large matrices, and tells at how many multiply-accumulates per second."""
    kind = torch.device(device).type
    side, dtype = SIDE[kind], torch.bfloat16 if kind == "cuda" else torch.float32
    matrix = torch.rand(side, side, device=device, dtype=dtype)

    def rate() -> float:
        begin = perf_counter()
        matrix @ matrix
        settle(device)
        return float(side**3 / (perf_counter() - begin))

    rate()  # the first one is slower
    return rate


def settle(device: str) -> None:
    """Wait until the device has done all that it was told."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def measure(preset: str, stage: int, args: argparse.Namespace, photos: Sequence[Pixels], lpips: LPIPS) -> Row:
    """Some steps of a fresh teacher, the first of them not counted."""
    device, shape = args.device, {"batch": args.batch, "crop": args.crop}
    teacher = Teacher(PRESETS[preset])
    run = (
        Run(teacher, Recipe(**shape), device)
        if stage == 1
        else AdversarialRun(teacher, StageTwo(**shape), device)
    )
    rate, times, rates, waits = product(device), list[float](), list[float](), 0.0
    with Batches(photos, args.batch, args.crop, np.random.default_rng(0)) as batches:
        calls, moving = step_work(run, batches, lpips)
        for number in range(args.steps + 1):
            batches.waited()
            begin = perf_counter()
            run.learn(batches, lpips, PROGRESS)
            settle(device)
            if number:
                times.append(perf_counter() - begin)
                waits += batches.waited()
                rates.append(rate())
    gemm, step_s, work = float(np.median(rates)), float(np.median(times)), sum(call.macs() for call in calls)
    alone_s = sum(call.seconds() for call in calls) if torch.device(device).type == "cpu" else None
    return Row(
        preset,
        stage,
        step_s,
        work / 1e9,
        moving / 1e9,
        (work + moving) / step_s / 1e9,
        gemm / 1e9,
        (work + moving) / step_s / gemm,
        alone_s,
        waits / sum(times),
        peak_bytes(device) / 2**30,
    )


def photographs(folder: Path | None, crop: int, memory: float | None = None) -> Sequence[Pixels]:
    """The first `SEEN` of a folder that are large enough; noise without one.

    With `memory`, in GiB, all of them, loaded as `train` does: a few would be decoded once and then be kept,
    and no step would wait for a decoder.

    Raises as `load_photos`, and BadUpload for `memory` without a folder.
    """
    if folder is None:
        if memory is not None:
            raise BadUpload("--memory is for real photographs: give their folder by --photos")
        return [noise(crop)]
    if memory is not None:
        return load_photos(folder, crop, round(memory * GIB))
    return list(load_photos(folder, crop, memory=0)[:SEEN])  # no memory: no other is decoded


def noise(crop: int) -> Pixels:
    """A photograph of nothing."""
    return np.random.default_rng(0).integers(0, 256, (3 * crop, 3 * crop, 3), dtype=np.uint8)


def figures(rows: Sequence[Row]) -> dict[str, Any]:
    """What is quoted; stage 2's presets end in `_stage2`."""
    names = [row.preset + ("_stage2" if row.stage == 2 else "") for row in rows]
    return {
        figure: {name: getattr(row, figure) for name, row in zip(names, rows, strict=True)}
        for figure in ("roofline_fraction", "step_s", "steps_per_s", "waiting", "peak_gib")
    }


def table(found: dict[str, Any]) -> str:
    """All rows, for people."""
    lines = [
        "preset   stage step, s    GMAC    Muon  GMAC/s product  of roofline  alone, s  waiting  peak, GiB"
    ]
    for row in found["rows"]:
        alone = row["convolutions_alone_s"]
        lines.append(
            f"{row['preset']:9}{row['stage']:5}{row['step_s']:8.3f}{row['gmac']:8.1f}{row['optimizer_gmac']:8.1f}"
            f"{row['gmac_per_s']:8.1f}{row['gemm_gmac_per_s']:8.1f}{row['roofline_fraction']:13.2f}"
            f"{'-' if alone is None else f'{alone:.3f}':>10}{row['waiting']:9.3f}{row['peak_gib']:11.2f}"
        )
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = program.parser(
        "Time training steps of the teacher's presets against the machine's rate of products.",
        "benchmarks/train_step.py --presets tiny small --json > train_step.json",
    )
    add = found.add_argument
    presets = ["tiny", "small", "medium"]
    add("--presets", nargs="+", choices=sorted(PRESETS), default=presets, help="default: tiny small medium")
    add("--stages", nargs="+", type=int, choices=(1, 2), default=[1], help="default: 1")
    add("--device", type=device, default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    add("--threads", type=count, metavar="N", help="of torch on a CPU (default: its own choice)")
    add("--batch", type=count, default=Recipe.batch, metavar="N", help=f"crops (default: {Recipe.batch})")
    crop_help = f"their side (default: {Recipe.crop})"
    add("--crop", type=crop_side, default=Recipe.crop, metavar="N", help=crop_help)
    add("--steps", type=count, default=5, metavar="N", help="timed steps of each (default: 5)")
    add("--photos", type=Path, metavar="DIR", help="real photographs (default: noise)")
    memory_help = (
        "memory for decoded photographs, as of microdose-server train: all of the folder are drawn from, and "
        f"decoded as they are drawn where they do not fit (default: the first {SEEN}, decoded before)"
    )
    add("--memory", type=positive, metavar="GIB", help=memory_help)
    return found


@flushed_denormals()
def run(args: argparse.Namespace, progress: Report) -> dict[str, Any]:
    """Measure everything. Raises BadUpload in one of several processes: each would time a run of its own."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise BadUpload("steps are timed in one process, on one device: start this without torchrun")
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    photos = photographs(args.photos, args.crop, args.memory)
    settings = [(preset, stage) for preset in args.presets for stage in args.stages]
    with joined(args.device) as peers:
        args.device = peers.device
        lpips, rows = placed(LPIPS(), args.device), list[Row]()
        for n, (preset, stage) in enumerate(settings):
            progress(Step("training", n, len(settings), f"{preset}, stage {stage}"))
            rows.append(measure(preset, stage, args, photos, lpips))
        progress(Step("training", len(settings), len(settings)))
    return {
        "figures": figures(rows),
        "threads": torch.get_num_threads(),
        "device": args.device,
        "batch": args.batch,
        "crop": args.crop,
        "photos": len(photos),
        "memory_gib": args.memory,
        "rows": [asdict(row) for row in rows],
        "machine": machine(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 with one line on stderr."""
    return program.perform("train_step.py", parser().parse_args(argv), run, reporter(), table)


if __name__ == "__main__":
    sys.exit(main())
