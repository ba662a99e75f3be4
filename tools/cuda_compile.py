"""Compiles the CUDA sources for each supported architecture and checks what ptxas says; nothing is run.

Works against any torch, the CPU build too: the sources use its stable headers alone. Exits 1 if a source does not
compile or a kernel spills registers to memory, 0 otherwise, also where there is no nvcc.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
FLAGS = ("-O3", "-std=c++17", "-fmad=false", "--expt-relaxed-constexpr", "-Xptxas", "-v", "-Xcompiler", "-fPIC")
DEFINES = ("-DTORCH_TARGET_VERSION=0x020A000000000000", "-DUSE_CUDA", "-DTORCHDIFF_CUDA")


def compile_source(nvcc: str, source: Path, architecture: str, folder: str) -> str:
    """What nvcc and ptxas print; raises CalledProcessError if they fail."""
    from torch.utils.cpp_extension import include_paths

    includes = [flag for path in include_paths() for flag in ("-I", path)]
    target = str(Path(folder) / f"{source.stem}.{architecture}.o")
    command = [nvcc, *FLAGS, *DEFINES, *includes, f"-arch={architecture}", "-c", str(source), "-o", target]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout


def usage(log: str) -> tuple[list[int], int]:
    """Registers of each kernel, and the bytes spilled by all, as ptxas reports them."""
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", log)]
    spilled = sum(int(n) for n in re.findall(r"(\d+) bytes spill (?:stores|loads)", log))
    return registers, spilled


def main() -> int:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        print("nvcc not found: skipped")
        return 0
    sources = sorted((ROOT / "csrc").glob("*.cu"))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        logs = [
            (source.name, architecture, pool.submit(compile_source, nvcc, source, architecture, folder))
            for source in sources
            for architecture in ARCHITECTURES
        ]
        passed = [report(name, architecture, log) for name, architecture, log in logs]
    return 0 if passed and all(passed) else 1


def report(name: str, architecture: str, log: Future[str]) -> bool:
    """Prints one line, or all that the compiler said; True if the source compiled and spills nothing."""
    try:
        registers, spilled = usage(log.result())
    except subprocess.CalledProcessError as error:
        print(f"{name} {architecture}: does not compile\n{error.stdout}")
        return False
    verdict = f"{spilled} BYTES SPILLED" if spilled else "no spills"
    print(f"{name} {architecture}: {len(registers)} kernels, registers {registers}, {verdict}")
    return bool(registers) and spilled == 0


if __name__ == "__main__":
    sys.exit(main())
