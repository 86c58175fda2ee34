"""The training curve: means over a window of steps, told at its last one, as CSV and for TensorBoard."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from microdose_server.training.loop import StepReport

BOARD = "tensorboard"
"""The folder beside the CSV file that `tensorboard --logdir` shows."""


class Columns:
    """A CSV file with a column `step`, to which lines are appended.

    It goes on after `step`: what a run that was cut off told of later steps, which come again, is dropped.
    A file that an earlier version began keeps its columns.
    """

    def __init__(self, path: Path, names: Sequence[str], step: int = 0) -> None:
        self._path = path
        self._names, *rows = _read(path) or [list(names)]
        place = self._names.index("step")
        _replace(path, [self._names, *(row for row in rows if int(row[place]) <= step)])

    def append(self, figures: Mapping[str, float]) -> None:
        """A line with six digits of each figure."""
        told = {name: f"{value:.6g}" for name, value in figures.items()} | {"step": str(figures["step"])}
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerow([told[name] for name in self._names])


class Curve:
    """Append the mean of every `window` reports, or of those of `patience` seconds where they are fewer, to a
    CSV file whose columns are StepReport's fields. The curve goes on after `step`.
    """

    def __init__(self, path: Path, step: int = 0, window: int = 50, patience: float = 60.0) -> None:
        self._columns = Columns(path, StepReport._fields, step)
        self._window, self._patience = window, patience
        self._reports: list[StepReport] = []
        self._began: float | None = None
        """When the window did, by the run's clock; None until a step tells of it."""
        self._board = SummaryWriter(path.parent / BOARD, purge_step=step + 1)

    def add(self, report: StepReport) -> StepReport | None:
        """Take one report; return the window's mean when it is full."""
        self._reports.append(report)
        self._began = report.seconds if self._began is None else self._began
        full = len(self._reports) == self._window or report.seconds - self._began >= self._patience
        return self.rest() if full else None

    def rest(self) -> StepReport | None:
        """Append and return the mean of all since the last line, however little; None if there is nothing."""
        if not self._reports:
            return None
        last = self._reports[-1]
        mean = StepReport(*np.mean(np.array(self._reports), axis=0).tolist())._replace(
            step=last.step, seconds=last.seconds, progress=last.progress
        )
        self._reports.clear()
        self._began = last.seconds
        figures = mean._asdict()
        self._columns.append(figures)
        self.show("training", figures, mean.step)
        return mean

    def show(self, kind: str, figures: dict[str, float], step: int) -> None:
        """Put figures on the board, as charts `kind/name`."""
        for name, value in figures.items():
            if name != "step":
                self._board.add_scalar(f"{kind}/{name}", value, step)
        self._board.flush()

    def close(self) -> None:
        """Nothing more will come."""
        self._board.close()


def _read(path: Path) -> list[list[str]]:
    """All lines but one that was cut off at the end."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    return [row for row in rows if len(row) == len(rows[0])]


def _replace(path: Path, rows: list[list[str]]) -> None:
    temporary = path.with_suffix(".writing")
    with temporary.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    temporary.replace(path)
