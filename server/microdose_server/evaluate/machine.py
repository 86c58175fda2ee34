"""The machine behind a measurement: without it a figure says nothing."""

import os
import platform
import re
import resource
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "onnxruntime", "numpy", "pillow", "av", "pillow-jxl-plugin", "constriction")
CPUINFO = Path("/proc/cpuinfo")


def machine() -> dict[str, Any]:
    """CPU, cores, how busy they are, GPUs, and the versions of what computes; None for what is absent."""
    return {
        "cpu": cpu_model(CPUINFO.read_text() if CPUINFO.is_file() else ""),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "gpu": gpu(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: installed(package) for package in PACKAGES},
    }


def cpu_model(cpuinfo: str) -> str:
    """The processor's name in the text of /proc/cpuinfo, or as far as Python knows it."""
    found = re.search(r"^model name\s*: (.+)$", cpuinfo, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def gpu() -> dict[str, Any] | None:
    """The CUDA devices that torch sees: their name (or names) and count, and the CUDA version."""
    import torch  # only here: not all that is measured loads it

    if not torch.cuda.is_available():
        return None
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {"name": ", ".join(sorted(set(names))), "count": len(names), "cuda": torch.version.cuda}


def peak_bytes(device: str) -> int:
    """The most memory needed: of a GPU by torch since the last call, on a CPU by the process so far."""
    import torch

    if torch.device(device).type != "cuda":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return found


def installed(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
