"""What numbers depend on beside the question: versions, for results; the machine, for times."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from torchdiff.noise import NOISE_VERSION

ROOT = Path(__file__).parents[2]


def versions(libraries: tuple[str, ...] = ()) -> dict[str, str]:
    """Name to version: of torchdiff, its noise, torch and Python, the commit of a checkout, and other libraries."""
    from torchdiff import __version__

    found = {"torchdiff": __version__, "noise": str(NOISE_VERSION), "torch": str(torch.__version__)}
    found |= {"python": platform.python_version(), "numpy": metadata.version("numpy")}
    commit = _git("rev-parse", "--short=12", "HEAD") if (ROOT / ".git").exists() else ""
    if commit:
        found["commit"] = commit + ("+" if _git("status", "--porcelain", "--", "torchdiff", "csrc") else "")
    return found | {name: metadata.version(name) for name in libraries}


def machine(device: torch.device) -> dict[str, Any]:
    """What times depend on: processor, cores, threads, device, system."""
    from torchdiff import ops

    name = next((s for s in _lines("/proc/cpuinfo") if s.startswith("model name")), "").partition(":")[2].strip()
    return {
        "cpu": name or platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "system": f"{platform.system()} {platform.machine()}",
        "backend": str(ops.backend().name),
    }


@functools.cache  # of the code that this process runs
def _git(*words: str) -> str:
    command = ["git", "-C", str(ROOT), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
