"""What a timing depends on beside the code: the machine, the versions, the threads, the commit, the date."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

from torchdiff import ops

ROOT = Path(__file__).parents[1]
CPU = Path("/sys/devices/system/cpu/cpu0")
GENERATED = "benchmarks/RESULTS.md"


def facts() -> dict[str, str]:
    """Name to value, in the order in which the report prints them."""
    build = ops.backend().build
    threads = torch.get_num_threads()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "CPU": f"{_cpuinfo('model name') or platform.processor() or platform.machine()}, {os.cpu_count()} cores"
        f"{_numbered()}, {_frequency()}",
        "caches": _caches(),
        "memory": _memory(),
        "SIMD": f"torchdiff {build.get('simd', 'none: ' + ops.backend().reason)}; "
        f"torch {torch.backends.cpu.get_cpu_capability()}",
        "system": f"{platform.system()} {platform.release()}, huge pages {_huge_pages()}",
        "Python": platform.python_version(),
        "torch": torch.__version__,
        **{name: _version(name) for name in ("torchdiff-sde", "diffusers", "torchsde")},
        "compiler": f"of torchdiff {build.get('compiler', 'none')}; of torch.compile {_first_line('g++', '--version')}",
        "threads": f"{threads} (torch.set_num_threads), OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', 'unset')}, "
        "for all sides",
        "load": f"{os.getloadavg()[0]:.2f} in the minute before the run (0 is an idle machine)",
    }


def _commit() -> str:
    head = _first_line("git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD")
    if head == "unknown":
        return head
    changed = _first_line("git", "-C", str(ROOT), "status", "--porcelain", "--", ".", f":!{GENERATED}", missing="")
    return f"{head} with uncommitted changes" if changed else head


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _first_line(*command: str, missing: str = "unknown") -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return missing
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else missing


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _cpuinfo(key: str) -> str:
    lines = (line.partition(":") for line in _read(Path("/proc/cpuinfo")).splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == key), "")


def _numbered() -> str:
    # clouds give their processors no name; family and model tell what they are
    numbers = [f"{key} {_cpuinfo(name)}" for key, name in (("family", "cpu family"), ("model", "model"))]
    return f" ({', '.join(numbers)})" if _cpuinfo("model") else ""


def _frequency() -> str:
    khz = _read(CPU / "cpufreq" / "cpuinfo_max_freq")
    if khz.isdigit():
        return f"up to {int(khz) / 1e6:.2f} GHz"
    mhz = _cpuinfo("cpu MHz")
    return f"{float(mhz) / 1000:.2f} GHz as the system reports it" if mhz else "frequency unknown"


def _caches() -> str:
    found = []
    for index in sorted((CPU / "cache").glob("index*")):
        level, kind, size = (_read(index / name) for name in ("level", "type", "size"))
        letter = {"Data": "d", "Instruction": "i"}.get(kind, "")
        found.append(f"L{level}{letter} {size}")
    return ", ".join(found) or "unknown"


def _memory() -> str:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{total / 2**30:.1f} GiB"


def _huge_pages() -> str:
    words = _read(Path("/sys/kernel/mm/transparent_hugepage/enabled")).split()
    return next((word.strip("[]") for word in words if word.startswith("[")), "unknown")
