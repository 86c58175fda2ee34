"""The training curve: means over a window of steps, told at its last one, as CSV and for TensorBoard."""

import csv
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from microdose_server.training.loop import StepReport

BOARD = "tensorboard"
"""The folder beside the CSV file that `tensorboard --logdir` shows."""


class Curve:
    """Append the mean of every `window` reports to a CSV file whose columns are StepReport's fields.

    The curve goes on after `step`: what a run that was cut off told of later steps, which come again, is
    dropped. A file that an earlier version began keeps its columns.
    """

    def __init__(self, path: Path, step: int = 0, window: int = 50) -> None:
        self._path = path
        self._window = window
        self._reports: list[StepReport] = []
        self._board = SummaryWriter(path.parent / BOARD, purge_step=step + 1)
        self._columns, *rows = _read(path) or [list(StepReport._fields)]
        place = self._columns.index("step")
        _replace(path, [self._columns, *(row for row in rows if int(row[place]) <= step)])

    def add(self, report: StepReport) -> StepReport | None:
        """Take one report; return the window's mean when it is full."""
        self._reports.append(report)
        return self.rest() if len(self._reports) == self._window else None

    def rest(self) -> StepReport | None:
        """Append and return the mean of all since the last line, however little; None if there is nothing."""
        if not self._reports:
            return None
        last = self._reports[-1]
        mean = StepReport(*np.mean(np.array(self._reports), axis=0).tolist())._replace(
            step=last.step, seconds=last.seconds, progress=last.progress
        )
        self._reports.clear()
        figures = mean._asdict()
        self._append([str(mean.step) if name == "step" else f"{figures[name]:.6g}" for name in self._columns])
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

    def _append(self, row: list[str]) -> None:
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerow(row)


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
