"""The largest memory that a step takes beside what it was given: peak resident memory of a fresh process."""

from __future__ import annotations

import gc
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch

from torchdiff import ops

from .affine import DRAWS, SEEDS, noisy_formula
from .paired import spread
from .report import Row

NUMEL, ROUNDS = 2**24, 3
WEIGHTS = torch.tensor([[0.9, 0.3, 0.2], [0.1, -0.5, 0.4]], dtype=torch.float64)
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def step(side, rows, x, y):
    if side == "ours":
        return ops.affine([x, y], WEIGHTS[:rows], SEEDS, 0, DRAWS)
    if rows == 1:
        return [noisy_formula(x, y)]
    z = torch.randn_like(x)
    return [a * x + b * y + c * z for a, b, c in WEIGHTS[:rows].tolist()]


def peak(side, rows):
    """Bytes. Scratch, threads and code of the call count; a call on 192 elements before it loads the libraries."""
    step(side, 1, *torch.randn(2, 1, 192))
    x, y = torch.randn(1, NUMEL), torch.randn(1, NUMEL)
    gc.collect()
    CLEAR.write_text("5")  # the high-water mark starts again from what is resident now
    before = _resident("VmRSS")
    kept = step(side, rows, x, y)
    after = _resident("VmHWM")
    assert len(kept) == rows
    return after - before


def _resident(name):
    found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(encoding="ascii"), re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])


def in_a_fresh_process(side, rows):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return float(pool.submit(peak, side, rows).result())


@pytest.mark.parametrize("rows", [1, 2])
def test_peak(record, rows):
    if not CLEAR.exists():
        pytest.skip("needs /proc/self/clear_refs, to start the high-water mark again")
    pairs = [(in_a_fresh_process("ours", rows), in_a_fresh_process("eager", rows)) for _ in range(ROUNDS)]
    mine, other = (spread([pair[side] for pair in pairs]).median for side in (0, 1))
    outputs = rows * 4 * NUMEL
    bar = 1.02 * outputs  # 2 %: huge pages at both ends, stacks of threads
    note = f"its outputs are {outputs // 2**20} MiB"
    ratio = spread([b / a for a, b in pairs])
    record(Row(f"peak of a noisy step, 16M, {rows} out", "eager", "B", mine, other, ratio, ROUNDS, most=bar, note=note))
