"""The training curve: means over a window of steps, one CSV line each."""

import csv
from pathlib import Path

import numpy as np

from microdose_server.training.loop import StepReport


class Curve:
    """Append the mean of every ``window`` reports to a CSV file whose columns are StepReport's fields."""

    def __init__(self, path: Path, window: int = 50) -> None:
        self._path = path
        self._window = window
        self._reports: list[StepReport] = []
        if not path.exists():
            self._append(list(StepReport._fields))

    def add(self, report: StepReport) -> StepReport | None:
        """Take one report; return the window's mean when it is full."""
        self._reports.append(report)
        if len(self._reports) < self._window:
            return None
        mean = StepReport(*np.mean(np.array(self._reports), axis=0).tolist())._replace(step=report.step)
        self._reports.clear()
        self._append([str(mean.step), *(f"{value:.6g}" for value in mean[1:])])
        return mean

    def _append(self, row: list[str]) -> None:
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerow(row)
