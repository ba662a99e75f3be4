"""Order of convergence, by the exact push-forward of Gaussian data: nothing is sampled."""

from __future__ import annotations

import functools
import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from instances import MOVERS

import torchdiff
from torchdiff import gaussian, get_sde, get_solver

# Start and end of each law, well inside the range where every coefficient is smooth. From the far end, and from the
# middle, where a wrong start-up of a multistep method shows. VE ends at sigma = 0.3: lower, second-order terms of its
# first steps, with sigma = 50, still outweigh the first-order error at 4096 steps.
RANGES = {"vp": [(1.0, 0.05), (0.5, 0.05)], "ve": [(1.0, 0.4), (0.7, 0.4)], "flow": [(0.98, 0.1), (0.5, 0.1)],
          "cld": [(1.0, 0.1), (0.5, 0.1)]}  # fmt: skip
STEPS = (1024, 2048, 4096)
VARIANCE, MEAN = (0.05, 0.25, 2.0), 0.3
SDES = (*RANGES, "cld:beta=0.1,slope=6.9")
CONSISTENT = [(solver, sde) for solver, sde in MOVERS if get_solver(solver).order is not None and sde in SDES]


class Slopes(NamedTuple):
    """What one solver does on one law from one start: Richardson slopes, and the first and last covariance error."""

    covariance: float
    map: float  # nan where the map is exact, as that of the ancestral solvers is: it has no slope
    errors: tuple[float, float]


def errors(solver: str, sde: str, steps: int, high: float, low: float) -> tuple[float, np.ndarray]:
    """Largest error of the covariance when the start is exact, and the linear map on a perturbed start."""
    plan = torchdiff.plan(sde, solver, steps=steps, t_max=high, t_min=low, grid="uniform", final="t_min")
    affine = gaussian.push(plan, VARIANCE, MEAN)
    start, end = (gaussian.marginal(plan.sde, plan.grid[i], VARIANCE, MEAN) for i in (0, -1))
    return float(np.abs(affine.apply(start).cov - end.cov).max()), affine.matrix


def richardson(values: list[float]) -> float:
    """2 p(N) - p(N / 2): the slope with its own first-order error taken out."""
    p = [math.log2(a / b) for a, b in pairwise(values)]
    return 2.0 * p[-1] - p[-2]


@functools.cache  # two laws read the same slopes, whichever of them runs first or alone
def slopes(solver: str, sde: str) -> list[Slopes]:
    """The slopes from each start of the SDE's RANGES."""
    found = []
    for high, low in RANGES[sde.partition(":")[0]]:
        runs = [errors(solver, sde, steps, high, low) for steps in (STEPS[0] // 2, *STEPS)]
        moves = [float(np.abs(a - b).max()) for (_, a), (_, b) in pairwise(runs)]
        map_slope = richardson(moves) if moves[-1] > 1e-12 else math.nan  # 1e-12: what 4096 roundings leave
        found.append(Slopes(richardson([error for error, _ in runs[1:]]), map_slope, (runs[0][0], runs[-1][0])))
    return found


@pytest.mark.parametrize(("solver", "sde"), CONSISTENT)
def test_weak_order_on_gaussian_data(solver, sde):
    """The Richardson slopes of the covariance error and of the map reach the declared order on a uniform-t grid."""
    order = get_solver(solver).order
    for found in slopes(solver, sde):
        assert found.covariance >= order - 0.02, found  # 0.02: the lowest of right solvers is 0.0068 short
        assert not found.map < order - 0.02, found  # nor is nan
        assert found.errors[1] < found.errors[0], found


@pytest.mark.parametrize("solver", sorted({solver for solver, _ in CONSISTENT}))
def test_no_order_is_declared_too_low(solver):
    """In at least one case the measured order is within 0.1 of the declared one: it is not declared too low either."""
    order = get_solver(solver).order
    found = (case.covariance for name, sde in CONSISTENT if name == solver for case in slopes(solver, sde))
    assert any(abs(slope - order) < 0.1 for slope in found)  # the first case that is near ends the search


def test_a_wrong_coefficient_fails():
    """The law sees a wrong letter: DPM-Solver++(2M) with 0.4 for its 1 / 2r is of first order."""
    from torchdiff.solvers import AffineSolver, Carry

    class Wrong(AffineSolver):
        memory = 1

        def step(self, x, span, predict, noise):
            cur, nxt = span.cur, span.nxt
            x0 = predict(x, cur).x0
            d = 1.4 * x0 - 0.4 * span.past[0] if span.past else x0
            h = nxt.half_log_snr - cur.half_log_snr
            return Carry(nxt.sigma / cur.sigma * x - nxt.alpha * math.expm1(-h) * d, x0)

    runs = []
    for steps in STEPS:
        plan = torchdiff.plan("vp", Wrong(), steps=steps, t_max=0.5, t_min=0.05, grid="log_snr", final="t_min")
        start, end = (gaussian.marginal(plan.sde, plan.grid[i], VARIANCE, MEAN) for i in (0, -1))
        runs.append(float(np.abs(gaussian.push(plan, VARIANCE, MEAN).apply(start).cov - end.cov).max()))
    assert richardson(runs) < 1.1


# the time of each level: sigma = 0.92, 1.66 and 0.5, where 620 corrections forget a wrong start by e^-40 at least
@pytest.mark.parametrize(("sde", "t"), [("vp", 0.4), ("ve", 0.6), ("flow", 0.5)])
@pytest.mark.parametrize("variance", [0.3, 1.0, 4.0])
def test_corrector_has_its_stationary_variance(variance, sde, t):
    """ALD repeated at one level ends at v / (1 - e / 2v): the closed form of x <- x + e score + sqrt(2 e) z."""
    snr, sde = 0.3, get_sde(sde)
    solver = f"predictor_corrector:predictor=ddim,corrector=(ald:snr={snr},repeat=20)"
    # thirty-one intervals so short that the level stands still: 31e-10 in t moves sigma by 3e-8 of itself at most
    times = [t - 1e-10 * i for i in range(32)]
    plan = torchdiff.plan(sde, solver, times=times, prediction="eps", final="t_min")
    law = gaussian.marginal(sde, plan.grid[0], variance)
    v, e = float(law.cov[0, 0, 0]), 2.0 * (snr * plan.grid[0].sigma) ** 2
    out = gaussian.push(plan, variance).apply(gaussian.Gaussian(law.mean, 3.0 * law.cov))  # forgets a wrong start
    assert abs(float(out.cov[0, 0, 0]) / (v / (1.0 - e / (2.0 * v))) - 1.0) < 1e-6
