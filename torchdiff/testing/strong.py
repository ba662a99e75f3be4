"""Strong order of convergence: the distance of runs on one Brownian path, in exact arithmetic; nothing is sampled.

On Gaussian data with the exact score a run is a linear map of its start and its draws. The draws of N and of 2N steps
are linear maps of the increments and areas of the path between all their times, which are independent. So the distance
of the two ends has a covariance that is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from torchdiff import gaussian
from torchdiff.counters import block_of
from torchdiff.denoiser import Denoiser
from torchdiff.planner import request
from torchdiff.plans import Plan
from torchdiff.solvers.base import Solver
from torchdiff.testing.order import MEAN, VARIANCE, Case, richardson
from torchdiff.testing.report import Found, held, skipped

FINEST = 256
SHORT = 0.05  # how far a right solver may stay below its order there: 0.008 is the most of those here
SAME = 1e-9  # of the whole time: two times that are one, but for rounding


def strong_order(solver: Solver, cases: Sequence[Case], finest: int = FINEST) -> Iterator[Found]:
    """Runs of N and 2N steps on one Brownian path come together with the declared strong order at least."""
    declared = solver.strong_order
    if declared is None:
        yield skipped("it declares none (strong_order = None)")
    elif not all(part.affine for part in solver.parts()):
        yield skipped("it runs on tensors, so its distances need sampling")
    elif not cases:
        yield skipped("it runs on none of the processes given")
    else:
        for case in cases:
            found = slope(solver, case, finest)
            yield held(str(case), found, f"strong_order = {declared:g}", found >= declared - SHORT)


def slope(solver: Solver, case: Case, finest: int = FINEST) -> float:
    """Richardson's slope of the distances of the runs with finest / 8 and / 4, / 4 and / 2, / 2 and finest steps."""
    return richardson(distances(solver, case, [finest // k for k in (8, 4, 2, 1)]))


def distances(solver: Solver, case: Case, steps: Sequence[int]) -> list[float]:
    """Root mean squares of the distance of the ends, for each two neighbours of `steps`, on uniform grids of t.

    All parts of the solver must be affine.
    """
    plans = [_plan(solver, case, count) for count in steps]
    times = _times(plans, case)
    start = gaussian.marginal(case.sde, plans[0].grid[0], VARIANCE, MEAN)
    second = start.cov + start.mean[:, :, None] * start.mean[:, None, :]  # of the start, all of it is random
    ends, n = [_on_path(plan, times) for plan in plans], case.sde.blocks
    found = []
    for (a, white_a), (b, white_b) in pairwise(ends):
        gap = a - b
        moved = np.einsum("kij,kjl,kil->", gap[:, :, :n], second, gap[:, :, :n])
        moved += 2.0 * np.einsum("kij,kj,ki->", gap[:, :, :n], start.mean, gap[:, :, -1])
        zero = 0.0 * gap[:, :, 0]
        white = (white_a.get(draw, zero) - white_b.get(draw, zero) for draw in {*white_a, *white_b})
        rest = sum(float(np.sum(part**2)) for part in (gap[:, :, n:], *white))
        found.append(math.sqrt((float(moved) + rest) / len(VARIANCE)))
    return found


def _plan(solver: Solver, case: Case, steps: int) -> Plan:
    denoiser = Denoiser(None, "flow" if case.sde.blocks == 1 else "score")
    return request(
        case.sde, solver, denoiser, steps=steps, calls=None, times=None, grid="uniform", t_min=case.low,
        t_max=case.high, final="t_min", noise="brownian",
    ).trace(denoiser)  # fmt: skip


def _times(plans: Sequence[Plan], case: Case) -> Any:
    """All the times between which the plans draw, from the first to the last."""
    asked = np.array(sorted({t for plan in plans for _, *ends in (*plan.spans, *plan.areas) for t in ends}))
    apart = np.diff(asked, prepend=-math.inf) > SAME * (case.high - case.low)
    return asked[apart][::-1]


def _on_path(plan: Plan, times: Any) -> tuple[Any, dict[int, Any]]:
    """The rows of a plan on the start, the path's normals and 1; and on each white draw, one of all runs."""
    rows, n = gaussian.rows(plan, VARIANCE, MEAN), plan.blocks
    columns = {draw: n + i for i, draw in enumerate(plan.draws)}
    h = -np.diff(times)
    path = np.zeros((*rows.shape[:2], n, 2, len(h)))  # by block: normals of the increments, of the areas
    for known, area in ((plan.spans, False), (plan.areas, True)):
        for draw, *ends in known:
            first, last = (int(np.argmin(abs(times - t))) for t in ends)
            weight = rows[:, :, columns.pop(draw), None, None]
            path[:, :, block_of(draw), :, first:last] += weight * _normal(h[first:last], area)
    white = {draw: rows[:, :, place] for draw, place in columns.items()}
    flat = path.reshape(*rows.shape[:2], -1)
    return np.concatenate([rows[:, :, :n], flat, rows[:, :, -1:]], axis=2), white


def _normal(h: Any, area: bool) -> Any:
    """The normal of the increment, or of the area, over all of the intervals h, on the normals of each, (2, len(h))."""
    whole = h.sum()
    w = np.stack([np.sqrt(h), 0.0 * h])
    if not area:
        return w / math.sqrt(whole)
    after = whole - np.cumsum(h)  # U = sum of U_i + W_i (time that is left), U_i = h_i (W_i / 2 + H_i)
    u = np.stack([np.sqrt(h) * (0.5 * h + after), h * np.sqrt(h / 12.0)])
    return (u / whole - 0.5 * w) / math.sqrt(whole / 12.0)
