"""How long it takes to plan 1000 steps, with every registered solver that is no step on tensors."""

from __future__ import annotations

from time import perf_counter

import pytest

import torchdiff
from torchdiff.registry import SOLVERS

from .paired import spread
from .report import Row

STEPS, ROUNDS, BAR = 1000, 3, 0.5
OTHERS = dict.fromkeys(("sscs", "sscs_2m", "sscs_2s"), ("cld", "score")) | {"rf_ancestral": ("flow", "flow")}  # else vp
AFFINE = sorted(
    name for name in torchdiff.list_solvers() if all(p.affine and p.moves for p in SOLVERS.get(name).parts())
)


def seconds(solver: str) -> float:
    sde, prediction = OTHERS.get(solver, ("vp", "eps"))
    begin = perf_counter()
    torchdiff.plan(sde, solver, steps=STEPS, prediction=prediction)
    return perf_counter() - begin


@pytest.mark.parametrize("solver", AFFINE)
def test_planning(record, solver):
    """No rival: the same plan again, which is not remembered by `plan`."""
    times = [(seconds(solver), seconds(solver)) for _ in range(ROUNDS)]
    mine, again = (spread([pair[side] for pair in times]).median for side in (0, 1))
    ratio = spread([b / a for a, b in times])
    row = Row(f"planning {STEPS} steps, {solver}", "itself", "s", mine, again, ratio, ROUNDS, most=BAR, rival=False)
    record(row)
