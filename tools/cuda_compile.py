"""Compiles the CUDA sources for each supported architecture and checks what comes out; nothing is run.

Works against any torch, the CPU build too: the sources use its stable headers alone. Exits 1 if a source does not
compile, a kernel keeps anything in local memory (spilled registers, arrays with a varying index), or a kernel named
*_flat_* does not move 16 bytes at a time; 0 otherwise, also where there is no nvcc.
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


def compile_source(nvcc: str, source: Path, architecture: str, folder: str) -> tuple[str, str]:
    """What nvcc and ptxas print, and the PTX; raises CalledProcessError if they fail."""
    from torch.utils.cpp_extension import include_paths

    includes = [flag for path in include_paths() for flag in ("-I", path)]
    place = Path(folder) / f"{source.stem}.{architecture}"
    place.mkdir()
    keep = ["--keep", "--keep-dir", str(place)]
    command = [nvcc, *FLAGS, *DEFINES, *includes, f"-arch={architecture}", *keep, "-c", str(source)]
    done = subprocess.run(
        [*command, "-o", str(place / "object.o")],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.stdout, "".join(path.read_text() for path in place.glob("*.ptx"))


def local_memory(log: str) -> list[str]:
    """The kernels that ptxas gives a stack frame or spills of, with its words."""
    found = re.findall(r"Function properties for (\S+)\n\s*(.*bytes spill loads)", log)
    return [f"{kernel}: {said}" for kernel, said in found if any(int(n) for n in re.findall(r"(\d+) bytes", said))]


def narrow_accesses(ptx: str) -> tuple[int, list[str]]:
    """The number of kernels named *_flat_*, and those of them without loads or without stores of 16 bytes.

    Weights, seeds and draw numbers are single words on purpose; stores of less than 8 bytes are not.
    """
    flat, wrong = 0, []
    for name, body in re.findall(r"\.entry (\w*_flat_\w*)\((.*?)\n\}", ptx, re.DOTALL):
        flat += 1
        loads = re.findall(r"ld\.global(?:\.nc)?\.(v4\.[bfu]32|v2\.[bfu]64)", body)
        stores = re.findall(r"st\.global\.(\S+)", body)
        wide = [kind for kind in stores if re.fullmatch(r"v4\.[bfu]32|v2\.[bfu]64", kind)]
        if not loads or not wide or any(not kind.startswith("v") for kind in stores):
            wrong.append(f"{name}: {len(loads)} loads of 16 bytes, stores {stores}")
    return flat, wrong


def main() -> int:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        print("nvcc not found: skipped")
        return 0
    sources = sorted((ROOT / "csrc").glob("*.cu"))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        results = [
            (source.name, architecture, pool.submit(compile_source, nvcc, source, architecture, folder))
            for source in sources
            for architecture in ARCHITECTURES
        ]
        passed = [report(name, architecture, result) for name, architecture, result in results]
    return 0 if passed and all(passed) else 1


def report(name: str, architecture: str, result: Future[tuple[str, str]]) -> bool:
    """Prints one line, or all that is wrong; True if the source compiled and nothing is."""
    try:
        log, ptx = result.result()
    except subprocess.CalledProcessError as error:
        print(f"{name} {architecture}: does not compile\n{error.stdout}")
        return False
    registers = sorted(int(n) for n in re.findall(r"Used (\d+) registers", log))
    flat, narrow = narrow_accesses(ptx)
    if flat == 0 and "_flat_" in (ROOT / "csrc" / name).read_text():
        narrow.append("the source has kernels named *_flat_*, the PTX none")
    wrong = [*(f"local memory: {line}" for line in local_memory(log)), *(f"16 bytes: {line}" for line in narrow)]
    verdict = "\n  ".join(["WRONG", *wrong]) if wrong else f"no local memory, {flat} move 16 bytes at a time"
    print(f"{name} {architecture}: {len(registers)} kernels, registers {registers}, {verdict}")
    return bool(registers) and bool(ptx) and not wrong


if __name__ == "__main__":
    sys.exit(main())
