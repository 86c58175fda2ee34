"""What a run tells: the curve, a line now and then, and how the held-out pictures do."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from microdose.errors import BadPicture, Diverged
from microdose_server.training.curve import Columns, Curve
from microdose_server.training.data import Pixels
from microdose_server.training.loop import Run, StepReport
from microdose_server.training.lpips import LPIPS
from microdose_server.training.preview import HeldOut, evaluate_held_out


@contextmanager
def reporting(
    training: Run,
    photos: Sequence[Pixels],
    held_out: Sequence[Pixels],
    lpips: LPIPS,
    out: Path,
    every: int,
    *,
    as_json: bool,
) -> Iterator[Callable[[StepReport], None]]:
    """What takes the reports of a run, whose first process tells them, in the folder `out` and as lines.

    The first line tells of the run and of how many `photos` it learns from, the others of the steps since the
    one before, with the seconds that are left. Held-out pictures are judged after `every` steps and at the
    end. A run that diverges, is stopped or draws a damaged picture has the curve of all its steps too.
    """
    if not training.peers.first:
        yield lambda step: None
        return

    def evaluate() -> HeldOut:
        return evaluate_held_out(training.teacher, training.ema, held_out, lpips, out / "preview.png")

    with closing(Curve(out / "curve.csv", training.step)) as curve:
        line = _print_json if as_json else _print_text
        line(_opening(training, len(photos), len(held_out)))
        judged = (
            Columns(out / "held_out.csv", ("step", *HeldOut._fields), training.step) if held_out else None
        )
        reporter = _Reporter(curve, judged, line, evaluate, every)
        try:
            yield reporter
        except (Diverged, BadPicture, KeyboardInterrupt):
            reporter.rest()
            raise
        reporter.finish(training.step)


def _opening(training: Run, photos: int, held_out: int) -> dict[str, float | str]:
    """What is about to happen."""
    return {
        "preset": training.teacher.preset.name,
        "stage": training.stage,
        "device": training.device,
        "processes": training.peers.count,
        "photos": photos,
        "held_out": held_out,
        "begun": training.step,
    }


@dataclass
class _Reporter:
    curve: Curve
    judged: Columns | None
    """Where it is kept how the held-out pictures do; None where there are none."""
    line: Callable[[Mapping[str, float | str]], None]
    evaluate: Callable[[], HeldOut]
    every: int
    evaluated: bool = False

    def __call__(self, step: StepReport) -> None:
        if (mean := self.curve.add(step)) is not None:
            self._tell(mean)
        self.evaluated = step.step % self.every == 0
        if self.evaluated:
            self._evaluate(step.step)

    def rest(self) -> None:
        """Tell of the steps that no line has told of yet."""
        if (mean := self.curve.rest()) is not None:
            self._tell(mean)

    def finish(self, step: int) -> None:
        """Tell what is left to tell at the end of the run."""
        self.rest()
        if not self.evaluated:
            self._evaluate(step)

    def _tell(self, mean: StepReport) -> None:
        left = mean.seconds * (1.0 / mean.progress - 1.0) if mean.progress > 0.0 else 0.0
        self.line({**mean._asdict(), "left": left})

    def _evaluate(self, step: int) -> None:
        if self.judged is not None:
            figures = self.evaluate()._asdict()
            self.judged.append({"step": step, **figures})
            self.curve.show("held-out", figures, step)
            self.line({"evaluated": step, **figures})


def _print_json(figures: Mapping[str, float | str]) -> None:
    print(json.dumps(figures), flush=True)


def _print_text(figures: Mapping[str, float | str]) -> None:
    told = [
        f"{name} {value}" if isinstance(value, str) else f"{name} {value:.5g}"
        for name, value in figures.items()
    ]
    print("  ".join(told), file=sys.stderr, flush=True)
