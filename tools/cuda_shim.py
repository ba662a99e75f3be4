"""Compiles csrc/*_cuda.cu for the CPU behind tests/shim and prints where the library lies.

    python tools/cuda_shim.py [FOLDER]        FOLDER is build/shim if not given

Loading it with torch.ops.load_library adds torchdiff_shim::NAME for every op NAME: the CUDA kernels, their host code
and their launches, on CPU tensors. With TORCHDIFF_SANITIZE=1 it is built for ASAN and UBSAN. A library of the same
sources, flags and torch is not built twice.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHIM = ROOT / "tests" / "shim"
# bits as in setup.py; what is compiled is soon run and soon thrown away, so -O1, and -O0 under sanitizers (3 s for 11)
FLAGS = ("-std=c++17", "-ffp-contract=off", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wno-unknown-pragmas")
DEFINES = ("-DTORCH_TARGET_VERSION=0x020A000000000000", "-DUSE_CUDA")
OPTIMIZE = ("-O1",)
SANITIZE = ("-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g")


def sources() -> list[Path]:
    """The CUDA sources, what they call that is not in a header, and the shim itself."""
    plain = [ROOT / "csrc" / name for name in ("library.cpp", "arguments.cpp")]
    return [*sorted((ROOT / "csrc").glob("*_cuda.cu")), *plain, SHIM / "shim.cpp"]


def compiler() -> str | None:
    """g++, because the sanitizers' libraries that the tests preload are its own."""
    return shutil.which("g++")


def build(folder: Path) -> Path:
    """The library, made if it is not there; raises CalledProcessError with what the compiler said on stderr."""
    import torch
    from torch.utils.cpp_extension import include_paths, library_paths

    sanitized = os.environ.get("TORCHDIFF_SANITIZE", "") not in ("", "0")
    flags = [*FLAGS, *DEFINES, *(SANITIZE if sanitized else OPTIMIZE)]
    read = sorted([*(ROOT / "csrc").iterdir(), *SHIM.iterdir(), Path(__file__)])
    key = hashlib.sha256("\n".join([torch.__version__, *flags]).encode())
    for path in read:
        key.update(path.read_bytes())
    target = folder / f"shim-{key.hexdigest()[:16]}.so"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    includes = [flag for path in (SHIM, ROOT / "csrc", *include_paths()) for flag in ("-I", str(path))]
    with tempfile.TemporaryDirectory(dir=folder) as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = [str(Path(scratch) / f"{source.name}.o") for source in sources()]
        commands = [
            [compiler() or "g++", *flags, "-include", str(SHIM / "shim.h"), *includes, "-x", "c++", "-c", str(source)]
            for source in sources()
        ]
        list(pool.map(lambda command, out: run([*command, "-o", out]), commands, objects))
        library = str(Path(scratch) / "shim.so")
        search = [flag for path in library_paths() for flag in ("-L", path)]
        # -Bsymbolic: the shim's guard and stream stand before libtorch's
        link = ["-shared", "-Wl,-Bsymbolic", *search, "-ltorch_cpu", "-ltorch", "-lc10", "-o", library]
        run([compiler() or "g++", *flags, *objects, *link])
        Path(library).replace(target)
    return target


def run(command: list[str]) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "shim"))
