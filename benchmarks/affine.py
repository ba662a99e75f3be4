"""The affine op against the same formula in eager torch and in torch.compile, the machine's copy, and one thread.

Run alone: python -m pytest benchmarks/affine.py
"""

from __future__ import annotations

from contextlib import contextmanager
from time import perf_counter, process_time

import pytest
import torch

from torchdiff import ops

from .paired import Timed, spread

WEIGHTS = (0.9, 0.3, 0.2, -0.1)
SEEDS, DRAWS, NONE = torch.tensor([0]), torch.tensor([0]), torch.empty(0, dtype=torch.int64)
SIZES = {"1M": 2**20, "16M": 2**24}


def inputs(count, *shape, dtype=torch.float32):
    return [torch.randn(shape, dtype=dtype) for _ in range(count)]


def noisy(tensors, out=None):
    """x, a network output, fresh noise; into fresh memory or into `out`."""
    weights = torch.tensor([WEIGHTS[:3]], dtype=torch.float64)
    given = None if out is None else [out]
    return Timed(lambda: ops.affine(tensors, weights, SEEDS, 0, DRAWS, out=given))


def noisy_formula(x, y):
    a, b, c, _ = WEIGHTS
    return a * x + b * y + c * torch.randn_like(x)


def plain(tensors, out=None):
    """A sum of tensors without noise, into fresh memory or into `out`."""
    weights = torch.tensor([WEIGHTS], dtype=torch.float64)
    given = None if out is None else [out]
    return Timed(lambda: ops.affine(tensors, weights, NONE, 0, NONE, out=given))


def plain_formula(x, y, z, w):
    a, b, c, d = WEIGHTS
    return a * x + b * y + c * z + d * w


def in_place(x, y):
    """The noisy formula as one writes it by hand where memory is dear: two buffers for all steps, nothing fresh."""
    a, b, c, _ = WEIGHTS
    out, z = torch.empty_like(x), torch.empty_like(x)
    return Timed(lambda: torch.mul(x, a, out=out).add_(y, alpha=b).add_(z.normal_(), alpha=c))


@contextmanager
def compiled(formula):
    """The formula with its weights as constants, which a plan that changes them each step could not keep."""
    yield torch.compile(formula, dynamic=False, fullgraph=True)
    torch._dynamo.reset()


@pytest.mark.parametrize(("size", "bar"), [("1M", 7.0), ("16M", 15.0)])
def test_noisy_step_against_eager(versus, size, bar):
    x, y = inputs(2, 1, SIZES[size])
    versus(f"noisy step, {size}", "eager", noisy([x, y]), Timed(lambda: noisy_formula(x, y)), least=bar)


@pytest.mark.parametrize("size", SIZES)
def test_noisy_step_into_memory_that_is_given(versus, size):
    x, y, out = inputs(3, 1, SIZES[size])
    versus(f"noisy step, {size}, given out", "eager in place", noisy([x, y], out), in_place(x, y))


def test_noisy_step_against_compile(versus):
    x, y = inputs(2, 1, SIZES["1M"])
    with compiled(noisy_formula) as formula:
        versus("noisy step, 1M", "torch.compile", noisy([x, y]), Timed(lambda: formula(x, y)), least=24.0)


@pytest.mark.parametrize("size", SIZES)
def test_four_tensors_against_eager(versus, size):
    tensors = inputs(4, 1, SIZES[size])
    versus(f"4 tensors, {size}", "eager", plain(tensors), Timed(lambda: plain_formula(*tensors)), least=4.0)


@pytest.mark.parametrize("size", SIZES)
def test_four_tensors_against_compile(versus, size):
    tensors = inputs(4, 1, SIZES[size])
    with compiled(plain_formula) as formula:
        versus(f"4 tensors, {size}", "torch.compile", plain(tensors), Timed(lambda: formula(*tensors)), least=1.0)


def test_four_tensors_against_the_copy(versus):
    """Five bytes moved for each byte written, at the rate at which the machine moves the two of a copy of 64 MiB."""
    *tensors, out = inputs(5, 1, SIZES["16M"])
    source, target = inputs(2, 2**24)

    def rate(pairs):
        return f"limit: copy_ moves {5 * 2**26 / pairs.theirs / 1e9:.1f} GB/s; bar: within 1.25 of it"

    copy = Timed(lambda: target.copy_(source))
    ours = plain(tensors, out)
    versus("4 tensors, 16M, given out", "copy_ bandwidth", ours, copy, scale=2.5, least=0.8, rival=False, note=rate)


@pytest.mark.parametrize("given", [False, True])
def test_second_thread(versus, given):
    tensors = inputs(2, 1, SIZES["16M"])
    threads = torch.get_num_threads()
    busy = {1: [], 2: []}

    def cores(pairs):
        # neighbours, or a system that wakes both threads on one core, leave a second thread without one
        return f"2 threads kept {spread(busy[2]).median:.2f} cores busy, 1 thread {spread(busy[1]).median:.2f}"

    def on(count):
        clock = noisy(tensors, torch.empty_like(tensors[0]) if given else None)

        def timed():
            torch.set_num_threads(count)
            begin = perf_counter(), process_time()
            try:
                return clock()
            finally:
                busy[count].append((process_time() - begin[1]) / (perf_counter() - begin[0]))
                torch.set_num_threads(threads)

        return timed

    versus(
        f"noisy step, 16M{', given out' if given else ''}, 2 threads",
        "its own 1 thread",
        on(2),
        on(1),
        least=1.7,
        rival=False,
        note=cores,
    )
