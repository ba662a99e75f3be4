"""Order of convergence, by the exact push-forward of Gaussian data: nothing is sampled."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import pairwise

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
ORDERS: dict[str, list[float]] = defaultdict(list)


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


@pytest.mark.parametrize(("solver", "sde"), CONSISTENT)
def test_weak_order_on_gaussian_data(solver, sde):
    """The Richardson slopes of the covariance error and of the map reach the declared order on a uniform-t grid."""
    order = get_solver(solver).order
    for high, low in RANGES[sde.partition(":")[0]]:
        runs = [errors(solver, sde, steps, high, low) for steps in (STEPS[0] // 2, *STEPS)]
        slope = richardson([error for error, _ in runs[1:]])
        assert slope >= order - 0.02, f"covariance, from t = {high}"  # 0.02: spread of right solvers over these laws
        assert runs[-1][0] < runs[0][0]
        ORDERS[solver].append(slope)
        moves = [float(np.abs(a - b).max()) for (_, a), (_, b) in pairwise(runs)]
        if moves[-1] > 1e-12:  # below it the map is exact, as that of the ancestral solvers is, and has no slope
            assert richardson(moves) >= order - 0.02, f"map, from t = {high}"


@pytest.mark.parametrize("solver", sorted({solver for solver, _ in CONSISTENT}))
def test_no_order_is_declared_too_low(solver):
    """In at least one case the measured order is within 0.1 of the declared one: it is not declared too low either."""
    if not ORDERS[solver]:
        for sde in {sde for name, sde in CONSISTENT if name == solver}:
            test_weak_order_on_gaussian_data(solver, sde)
    assert min(abs(slope - get_solver(solver).order) for slope in ORDERS[solver]) < 0.1


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


@pytest.mark.parametrize("variance", [0.3, 1.0, 4.0])
def test_corrector_has_its_stationary_variance(variance):
    """ALD repeated at one level ends at v / (1 - e / 2v): the closed form of x <- x + e score + sqrt(2 e) z."""
    snr, sde = 0.3, get_sde("vp")
    solver = f"predictor_corrector:predictor=ddim,corrector=(ald:snr={snr},repeat=20)"
    # thirty-one intervals so short that the level stands still: 1e-9 in t moves nothing by more than 1e-8
    times = [0.4 - 1e-9 * i for i in range(32)]
    plan = torchdiff.plan(sde, solver, times=times, final="t_min")
    law = gaussian.marginal(sde, plan.grid[0], variance)
    v, e = float(law.cov[0, 0, 0]), 2.0 * (snr * plan.grid[0].sigma) ** 2
    out = gaussian.push(plan, variance).apply(gaussian.Gaussian(law.mean, 3.0 * law.cov))  # forgets a wrong start
    assert abs(float(out.cov[0, 0, 0]) / (v / (1.0 - e / (2.0 * v))) - 1.0) < 1e-6
