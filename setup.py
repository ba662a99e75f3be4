"""Builds torchdiff._C: the fused ops on LibTorch's stable ABI, and a few host functions through pybind11.

CUDA kernels are built when torch is a CUDA build and nvcc is found. TORCHDIFF_NO_EXT=1 builds pure Python, and so does
a machine without any C++ compiler, saying so; a compiler that fails stops the installation.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
# Bits: no contraction of a * b + c, no reassociation. no-trapping-math and no-math-errno change no value; without
# them gcc keeps branches and calls around selects and square roots and does not vectorise.
HOST = ["-O3", "-std=c++17", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
DEVICE = ["-O3", "-std=c++17", "-fmad=false", "--expt-relaxed-constexpr"]
TARGET = "-DTORCH_TARGET_VERSION=0x020A000000000000"  # stable ABI of torch 2.10: one build serves every later torch
SOURCES = (
    "library",
    "arguments",
    "simd_cpu",
    "simd_avx2",
    "simd_avx512",
    "kept_cpu",
    "memory_cpu",
    "affine_cpu",
    "norms_cpu",
    "program_cpu",
    "brownian_cpu",
    "brownian_levels",
    "tensors_python",
    "walk_python",
    "entries_python",
    "bindings",
)

KERNELS = ("affine", "norms", "brownian")  # of csrc/NAME_cuda.cu


def compiler() -> str | None:
    """The C++ compiler that torch's build would call, if it is there."""
    return shutil.which(os.environ.get("CXX", "").split(" ")[0] or "c++") or shutil.which("g++")


def cuda_home() -> str | None:
    """The toolkit that nvcc belongs to, by its own word: nvcc on the path may be a script or a link to elsewhere."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        return None
    said = subprocess.run([nvcc, "--dryrun", "-E", "-x", "cu", os.devnull], capture_output=True, text=True, check=False)
    top = re.search(r"TOP=(.+)", said.stderr)
    return os.path.realpath(top[1].strip()) if top else None


def extension() -> dict:
    """The arguments of setup() for the extension; empty where there is to be none."""
    if os.environ.get("TORCHDIFF_NO_EXT", "") not in ("", "0"):
        print("torchdiff: TORCHDIFF_NO_EXT is set: pure Python, nothing is compiled")
        return {}
    if compiler() is None:
        print("torchdiff: no C++ compiler found (c++, g++ or $CXX): pure Python, same results, slower")
        return {}
    home = os.environ.get("CUDA_HOME") or cuda_home()
    if home:
        os.environ["CUDA_HOME"] = home  # before torch looks for itself

    import pybind11
    import torch
    from torch.utils import cpp_extension

    cuda = torch.version.cuda is not None and cpp_extension.CUDA_HOME is not None
    if torch.version.cuda is not None and not cuda:
        print(
            "torchdiff: torch is a CUDA build, but nvcc is not found: CPU kernels only, CUDA tensors run in plain torch"
        )
    sources = [f"csrc/{name}.cpp" for name in SOURCES] + ([f"csrc/{name}_cuda.cu" for name in KERNELS] if cuda else [])
    defines = [TARGET, *(["-DTORCHDIFF_CUDA", "-DUSE_CUDA"] if cuda else [])]
    kind = cpp_extension.CUDAExtension if cuda else cpp_extension.CppExtension
    module = kind(
        "torchdiff._C",
        sources=sources,
        depends=[str(path.relative_to(ROOT)) for path in (ROOT / "csrc").glob("*.h")],
        include_dirs=[pybind11.get_include()],
        extra_compile_args={"cxx": HOST + defines, "nvcc": DEVICE + defines},
    )
    return {"ext_modules": [module], "cmdclass": {"build_ext": cpp_extension.BuildExtension}}


setup(**extension())
