"""Fixtures of the op tests: what is compiled, or a skip that says why it is not there."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from torchdiff import ops


@pytest.fixture
def extension():
    """torchdiff._C, for the laws that only compiled code can break."""
    backend = ops.backend()
    if backend.name != "extension":
        pytest.skip(f"compiled code only: {backend.reason}")
    from torchdiff import _C

    return _C


@pytest.fixture(scope="session")
def shim():
    """torch.ops.torchdiff_shim: the CUDA kernels with their launches, compiled for the CPU (tests/shim)."""
    if ops.backend().name != "extension":
        pytest.skip(f"compiled code only: {ops.backend().reason}")
    if shutil.which("g++") is None:
        pytest.skip("g++ is not found: the CUDA sources are compiled for the CPU with it")
    tool = Path(__file__).parents[2] / "tools" / "cuda_shim.py"
    done = subprocess.run([sys.executable, str(tool)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    torch.ops.load_library(done.stdout.strip())
    return torch.ops.torchdiff_shim


@pytest.fixture(scope="session")
def on_grid(shim):
    """on_grid(blocks, reversed, op, ...): the op's result on a forced grid."""

    def run(blocks, last_first, op, *arguments, **out):
        shim.set_grid(blocks, last_first)
        try:
            return getattr(shim, op)(*arguments, **out)
        finally:
            shim.set_grid(0, False)

    return run
