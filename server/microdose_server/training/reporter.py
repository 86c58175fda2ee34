"""What a run tells: the curve, a line now and then, and how the held-out pictures do."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from microdose.errors import Diverged
from microdose_server.training.curve import Curve
from microdose_server.training.data import Pixels
from microdose_server.training.loop import Run, StepReport
from microdose_server.training.lpips import LPIPS
from microdose_server.training.preview import HeldOut, evaluate_held_out


@contextmanager
def reporting(
    training: Run, held_out: Sequence[Pixels], lpips: LPIPS, out: Path, every: int, *, as_json: bool
) -> Iterator[Callable[[StepReport], None]]:
    """What takes the reports of a run, whose first process tells them, in the folder `out` and as lines.

    Held-out pictures are judged after `every` steps and at the end. A run that diverges or is stopped has the
    curve of all its steps too.
    """
    if not training.peers.first:
        yield lambda step: None
        return

    def evaluate() -> HeldOut:
        return evaluate_held_out(training.teacher, training.ema, held_out, lpips, out / "preview.png")

    with closing(Curve(out / "curve.csv", training.step)) as curve:
        line = _print_json if as_json else _print_text
        reporter = _Reporter(curve, line, evaluate if held_out else None, every)
        try:
            yield reporter
        except (Diverged, KeyboardInterrupt):
            reporter.rest()
            raise
        reporter.finish(training.step)


@dataclass
class _Reporter:
    curve: Curve
    line: Callable[[Mapping[str, float]], None]
    evaluate: Callable[[], HeldOut] | None
    every: int
    evaluated: bool = False

    def __call__(self, step: StepReport) -> None:
        if (mean := self.curve.add(step)) is not None:
            self.line(mean._asdict())
        self.evaluated = step.step % self.every == 0
        if self.evaluated:
            self._evaluate(step.step)

    def rest(self) -> None:
        """Tell of the steps that no line has told of yet."""
        if (mean := self.curve.rest()) is not None:
            self.line(mean._asdict())

    def finish(self, step: int) -> None:
        """Tell what is left to tell at the end of the run."""
        self.rest()
        if not self.evaluated:
            self._evaluate(step)

    def _evaluate(self, step: int) -> None:
        if self.evaluate is not None:
            figures = self.evaluate()._asdict()
            self.curve.show("held-out", figures, step)
            self.line({"evaluated": step, **figures})


def _print_json(figures: Mapping[str, float]) -> None:
    print(json.dumps(figures), flush=True)


def _print_text(figures: Mapping[str, float]) -> None:
    print("  ".join(f"{name} {value:.5g}" for name, value in figures.items()), file=sys.stderr, flush=True)
