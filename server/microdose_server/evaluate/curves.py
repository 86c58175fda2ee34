"""Rate-distortion points in the JSON that CompressAI's tools read and write, and their plot.

    {"name": ..., "description": ..., "results": {"bpp": [...], "psnr-rgb": [...], "ms-ssim-rgb": [...], ...}}

Every list of `results` has one number per rate. `lpips` and `dists` are our additions to the schema.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from microdose.errors import BadUpload

Points = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Curve:
    """One codec at some rates."""

    name: str
    description: str
    results: dict[str, list[float]]

    def to_json(self) -> dict[str, Any]:
        """An object of CompressAI's schema."""
        return asdict(self)


def read_curve(file: Path) -> Curve:
    """A published curve. Raises BadUpload if the file is not of the schema."""
    try:
        document = json.loads(file.read_text())
        results = {name: [float(value) for value in values] for name, values in document["results"].items()}
        rates = len(results["bpp"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadUpload(f"{file} is not a result in CompressAI's schema: {error!r}") from error
    if any(len(values) != rates for values in results.values()):
        raise BadUpload(f"{file} does not give {rates} numbers, one per rate, in every list")
    return Curve(file.stem, str(document.get("description", "")), results)


def read_curves(paths: Sequence[Path]) -> list[Curve]:
    """The curves of files, and of every .json file in folders. Raises BadUpload also if a folder has none."""
    return [read_curve(file) for path in paths for file in _files(path)]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if found := sorted(path.glob("*.json")):
        return found
    raise BadUpload(f"{path} holds no .json file itself: give the folder that has the results, or the files")


def decibels(ms_ssim: float) -> float:
    """MS-SSIM on the scale of plots: 0.9 is 10 dB, 0.99 is 20 dB."""
    return -10 * math.log10(max(1.0 - ms_ssim, 1e-10))


def series(curve: Curve, metric: str) -> list[tuple[float, float]]:
    """(bpp, value) by growing rate; empty where the curve lacks the metric. MS-SSIM comes in dB."""
    if metric == "ms-ssim-rgb" and metric in curve.results:
        values = [decibels(value) for value in curve.results[metric]]
    else:
        values = curve.results.get("ms-ssim-db-rgb" if metric == "ms-ssim-rgb" else metric, [])
    return sorted(zip(curve.results["bpp"], values, strict=False))


PANELS = {
    "psnr-rgb": "PSNR, dB",
    "ms-ssim-rgb": "MS-SSIM, dB",
    "lpips": "LPIPS (less is better)",
    "dists": "DISTS (less is better)",
}


def plot(measured: Sequence[Curve], published: Sequence[Curve], file: Path) -> None:
    """A PNG with a panel per metric: what was measured here in bold, what others published dashed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(21, 6), layout="constrained")
    most = 2 * max(rate for curve in measured for rate in curve.results["bpp"])
    for panel, (metric, label) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for number, curve in enumerate(published):
            points = [point for point in series(curve, metric) if point[0] <= most]
            look = {"color": f"C{number}", "label": f"{curve.name}, published"}
            panel.plot(*_axes(points), "--", linewidth=0.8, alpha=0.7, **look)
        for number, curve in enumerate(measured):
            panel.plot(*_axes(series(curve, metric)), "o-", color=f"C{number}", label=curve.name)
        panel.set(xlabel="bits per pixel", ylabel=label, xlim=(0, most))
        panel.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=7, ncols=1 + len(labels) // 30)
    figure.savefig(file, dpi=120)


def _axes(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [rate for rate, _ in points], [value for _, value in points]
