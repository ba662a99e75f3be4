"""(W, integral of W) over 20 intervals of [0, 1] for (64, 3072) elements, against torchsde's BrownianInterval."""

from __future__ import annotations

import functools
import itertools
import random
import warnings

import pytest
import torch

from torchdiff import noise

from .paired import Timed

SHAPE, STEPS = (64, 3072), 20
TIMES = [i / STEPS for i in range(STEPS + 1)]
IN_ORDER = list(itertools.pairwise(TIMES))
SHUFFLED = random.Random(0).sample(IN_ORDER, STEPS)


def ours(intervals):
    """One call for a grid in order; a call an interval for intervals in any order."""
    brownian = getattr(noise, "brownian", None)
    if brownian is None:
        pytest.skip("torchdiff.noise.brownian is not in this version")
    query = functools.partial(brownian, SHAPE, seed=0, horizon=1.0, integral=True)
    if intervals == IN_ORDER:
        return lambda: query(TIMES)
    return lambda: [query(interval) for interval in intervals]


def theirs(intervals):
    """A fresh path each time: one that has answered already would answer from its cache."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchsde

    def run():
        path = torchsde.BrownianInterval(t0=0.0, t1=1.0, size=SHAPE, levy_area_approximation="space-time", entropy=0)
        return [path(start, end, return_U=True) for start, end in intervals]

    return run


def normals_a_query(run):
    """How many normals an element torch makes in a run, by its calls of torch.randn, divided by the intervals."""
    made, randn = 0, torch.randn

    def counted(*size, **options):
        nonlocal made
        result = randn(*size, **options)
        made += result.numel()
        return result

    torch.randn = counted
    try:
        run()
    finally:
        torch.randn = randn
    return made / (STEPS * SHAPE[0] * SHAPE[1])


@pytest.mark.parametrize(("order", "intervals"), [("in order", IN_ORDER), ("shuffled", SHUFFLED)])
def test_increments_and_integrals(versus, order, intervals):
    pytest.importorskip("torchsde")
    mine, other = ours(intervals), theirs(intervals)
    count = normals_a_query(other)
    grids = [TIMES] if intervals == IN_ORDER else intervals
    own = sum(noise.normals_per_element(grid, 1.0, True) for grid in grids) / STEPS
    calls = "one call" if intervals == IN_ORDER else "a call a query"
    note = (
        f"normals an element a query: ours {own:.1f} ({calls}), theirs {count:.1f} (a call a query, a fresh path a run)"
    )

    versus(f"W and its integral, 20 intervals {order}", "torchsde", Timed(mine), Timed(other), least=1.0, note=note)
