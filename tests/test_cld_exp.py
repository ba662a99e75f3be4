"""cld_exp: a step's linear part, its integrals and its noise are exact."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from test_identities import distance

import torchdiff
from torchdiff import gaussian, get_sde, get_solver
from torchdiff.blocks import Blocks
from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.form import Form
from torchdiff.sde import MatrixSDE
from torchdiff.solvers.whitened import flow, reading
from torchdiff.testing import order

XI = 3.0 * math.sqrt(3.0)
THIRD = MatrixSDE(  # position, velocity and acceleration; N(0, 1) stays in all three
    lambda t: [[0.0, 2.0 + 3.0 * t, 0.0], [-2.0 - 3.0 * t, 0.0, 4.0], [0.0, -4.0, -XI]],
    lambda t: [[0.0] * 3, [0.0] * 3, [0.0, 0.0, math.sqrt(2.0 * XI)]],
    blocks=3,
    start=(0.04, 0.04),
)
PROCESSES = {"cld": get_sde("cld"), "slope": get_sde("cld:beta=0.1,slope=6.9"), "third": THIRD}
EACH = pytest.mark.parametrize("sde", PROCESSES.values(), ids=PROCESSES)


def cov(factor):
    return np.array(factor) @ np.array(factor).T


@EACH
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("hold", ["x0", "eps"])
@pytest.mark.parametrize(("start", "end"), [(0.9, 0.5), (0.3, 0.05), (0.4, 0.7)])
def test_a_step_solves_its_equation(sde, eta, hold, start, end):
    """x' = F x - (1 + eta^2) / 2 G G^T (a . x + b n(t)), n a line in t, by SciPy in plain coordinates, entry by entry.

    n is x0 of score = -Sigma^-1 (x - alpha x0), or eps of score = -eps / L_last. SciPy is asked for 1e-12.
    """
    kappa, last = 0.5 * (1.0 + eta * eta), sde.blocks - 1
    cur, nxt = sde.level(start), sde.level(end)
    times = (start, start + 0.1)  # of n: now, and before

    def rule(t, y):
        level = sde.level(min(max(t, min(start, end)), max(start, end)))
        x, n = y[:-2].reshape(sde.blocks, -1), y[-2:]
        line = np.array([n[0] * (t - times[1]) + n[1] * (times[0] - t)]) / (times[0] - times[1])
        if hold == "x0":
            score = -np.linalg.solve(cov(level.sigma), x - np.array(level.alpha)[:, :1] * line)[last]
        else:
            score = -line / level.sigma[last][last]
        moved = np.array(sde.drift(t)) @ x
        moved[last] -= kappa * sde.noise(t)[last][last] ** 2 * score
        return np.concatenate([moved.ravel(), [0.0, 0.0]])

    found = flow(sde, cur, nxt, eta, hold, times)
    columns = [*np.array(found.mean).T, *found.pulls]
    for column, unit in zip(columns, np.eye(sde.blocks + 2), strict=True):
        exact = solve_ivp(rule, (start, end), unit, method="DOP853", rtol=1e-12, atol=1e-14).y[:-2, -1]
        # some ten steps of 1e-12 each; where only F is in the linear part it grows by up to 1e4 on the way
        assert np.abs(column - exact).max() <= 2e-11 * max(1.0, np.abs(column).max())


@pytest.mark.parametrize("mass", [0.25, 1.0])
@pytest.mark.parametrize(("start", "end"), [(0.010001, 0.01), (0.011, 0.01), (0.06, 0.01), (0.4, 0.1), (0.7, 0.01)])
def test_the_reverse_sde_in_50_digits(mass, start, end):
    """eta = 1: Phi = Sigma_nxt E^T Sigma_cur^-1 and Q = Sigma_nxt - Phi E Sigma_nxt, each entry of both."""
    sde = get_sde(f"cld:mass={mass}")
    with mpmath.workdps(50):
        rates = mpmath.matrix([[0, 1 / mpmath.mpf(mass)], [-1, -2 / mpmath.sqrt(mass)]]) * sde.beta
        stationary, first = mpmath.diag([1, mass]), mpmath.diag([0, sde.gamma * mass])

        def law(t):
            move = mpmath.expm(rates * t)
            return move * (first - stationary) * move.T + stationary

        move = mpmath.expm(rates * (mpmath.mpf(start) - mpmath.mpf(end)))
        mean = law(end) * move.T * law(start) ** -1
        spread = law(end) - mean * move * law(end)
        found = flow(sde, sde.level(start), sde.level(end), 1.0, "x0", [start])
        for exact, ours in ((mean, found.mean), (spread, cov(found.noise).tolist())):
            for i in range(2):
                for j in range(2):
                    # over 1e-6 of time the levels' roundings leave 2e-13, elsewhere 1e-15
                    assert abs(ours[i][j] / exact[i, j] - 1) <= 4e-13


@EACH
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize(("start", "end"), [(1.0, 1e-3), (0.5, 0.4), (0.2001, 0.2)])
def test_noise_makes_up_for_what_the_linear_part_takes(sde, eta, start, end):
    """Phi Sigma_cur Phi^T + Q = Sigma_nxt for every eta, to 1e-13: the law of a known data point is kept."""
    cur, nxt = sde.level(start), sde.level(end)
    found = flow(sde, cur, nxt, eta, "x0", [start])
    mean = np.array(found.mean)
    assert np.abs(mean @ cov(cur.sigma) @ mean.T + cov(found.noise) - cov(nxt.sigma)).max() <= 1e-13
    assert (eta == 0.0) == (not np.any(found.noise))
    assert all(found.noise[i][j] == 0.0 for i in range(sde.blocks) for j in range(i))  # the last has its own normal


@EACH
def test_noise_along_F_is_the_inverse_transition(sde):
    """hold = eps: Phi = E^-1 and Q = eta^2 E^-1 Q E^-T with the exact transition, to 1e-11: SciPy's 1e-13, inverted."""
    for start, end in ((0.5, 0.4), (0.2, 0.199)):
        mean, spread = (np.array(part) for part in sde.transition(end, start))
        found = flow(sde, sde.level(start), sde.level(end), 0.7, "eps", [start])
        back = np.linalg.inv(mean)
        np.testing.assert_allclose(found.mean, back, rtol=1e-11, atol=1e-12)
        exact = 0.49 * back @ spread @ spread.T @ back.T
        assert np.abs(cov(found.noise) - exact).max() <= 1e-11 * np.abs(exact).max()


@pytest.mark.parametrize("spec", ["cld_exp", "cld_exp:order=1", "cld_exp:eta=1", "cld_exp:eta=0.5,order=1"])
@EACH
def test_one_data_point_is_exact_at_any_steps(spec, sde):
    """Data of variance 0: with the exact score the law at the end is the level's, after 1, 2 and 7 steps, to 1e-11.

    1e-11: x0 is read from a score of up to 1e5 with weights that cancel it.
    """
    for steps in (1, 2, 7):
        plan = torchdiff.plan(sde, spec, steps=steps, prediction="score", t_max=0.9, t_min=0.02, final="t_min")
        law = gaussian.moments(plan, 0.0, 0.7, start="marginal")
        exact = gaussian.marginal(sde, plan.grid[-1], 0.0, 0.7)
        assert np.abs(law.cov - exact.cov).max() <= 1e-11
        assert np.abs(law.mean - exact.mean).max() <= 1e-11


@pytest.mark.parametrize("hold", ["x0", "eps"])
def test_a_line_in_time_is_exact_for_order_two(hold):
    """A network whose n is a line in t: two steps of order 2 after a first one are one step of the exact line."""
    sde, times = get_sde("cld"), (0.8, 0.7, 0.5)
    levels = [sde.level(t) for t in times]
    solver = get_solver("cld_exp", hold=hold)

    def predict(x, level):  # the score whose n is 2 + 3 t
        own, factor = reading(level, hold)
        score = sum((block * weight for block, weight in zip(x, own, strict=True)), Form())
        return _Said(Blocks([Form(), score + Form({9: factor * (2.0 + 3.0 * level.t)})]))

    x = Blocks([Form.column(0), Form.column(1)])
    first = solver.step(x, torchdiff.solvers.Span(sde, tuple(levels), 0), predict, None)
    second = solver.step(first.x, torchdiff.solvers.Span(sde, tuple(levels), 1, (first.memo,)), predict, None)
    # from first.x on the exact line
    whole = flow(sde, levels[1], levels[2], 0.0, hold, [levels[1].t, levels[0].t])
    exact = whole.mean @ first.x
    for pull, t in zip(whole.pulls, times[1::-1], strict=True):
        exact = exact + Blocks(Form({9: weight * (2.0 + 3.0 * t)}) for weight in pull)
    for a, b in zip(second.x, exact, strict=True):
        for key in {*a.terms, *b.terms}:
            assert a.terms.get(key, 0.0) == pytest.approx(b.terms.get(key, 0.0), abs=1e-11)


class _Said:
    def __init__(self, score):
        self.score = score


@pytest.mark.parametrize("sde", ["vp", "ve", "sub_vp", "flow:t_min=0.02,t_max=0.98"])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("cld_exp:order=1", "ddim"),
        ("cld_exp:order=1,hold=eps", "ddim"),
        ("cld_exp:eta=1,order=1", "ddim:eta=1"),
        ("cld_exp:eta=0.5,order=1", "dpmpp_1_sde:eta=0.25"),
    ],
)
def test_one_block_is_ddim(left, right, sde):
    """On one block order 1 is DDIM for eta = 0 and, x0 held, 1, and SDE-DPM-Solver++ 1 between, whose eta is eta^2.

    1e-12 as in test_identities.
    """
    plans = [torchdiff.plan(sde, name, steps=12, prediction="eps", final="t_min") for name in (left, right)]
    assert distance(*plans) < 1e-12 * max(1.0, plans[0].growth)


@EACH
def test_the_way_to_noise_undoes_the_way_back(sde):
    """eta = 0: the linear part from a to b and from b to a is 1, to 1e-12."""
    a, b = sde.level(0.7), sde.level(0.2)
    there, back = (np.array(flow(sde, *pair, 0.0, "x0", [0.5]).mean) for pair in ((a, b), (b, a)))
    assert np.abs(there @ back - np.eye(sde.blocks)).max() <= 1e-12


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_order_two_does_not_magnify_rounding(eta):
    """Near the data a row of x weighs its parts by 4 at most, at 200 equal steps down to a fifth of one.

    The last x0 by itself would stand beside x with a weight of 50 in each, of which the difference counts.
    """
    assert torchdiff.plan("cld", get_solver("cld_exp", eta=eta), steps=200, prediction="score").growth <= 4.0


@pytest.mark.parametrize(
    ("spec", "sde"),
    [
        ("cld_exp:order=1", "cld"),
        ("cld_exp:hold=eps", "cld"),
        ("cld_exp:eta=1", "cld"),
        ("cld_exp:eta=0.5,order=1", "cld"),
        ("cld_exp:eta=0.5", "vp"),
        ("cld_exp:eta=0.5,hold=eps", "vp"),
        ("cld_exp:eta=0.5,order=1,hold=eps", "vp"),
    ],
)
def test_options_keep_their_weak_order(spec, sde):
    """Each option converges with the order that it declares, within 0.05, from the middle of the process."""
    solver = get_solver(spec)
    slopes = order.slopes(solver, order.cases(solver, [sde])[1], 256)
    assert abs(slopes.covariance - solver.weak_order) <= 0.05


def test_what_it_cannot_do_is_said():
    """Other options, t = 0, and a level whose last score does not depend on the data, by name and with the way out."""
    for options, says in (
        (dict(eta=-1.0), "eta must not be negative"),
        (dict(order=3), "order is 1 or 2, got 3"),
        (dict(hold="v"), "hold is 'x0' or 'eps', got 'v'"),
    ):
        with pytest.raises(OptionError, match=says):
            get_solver("cld_exp", **options)
    with pytest.raises(IncompatibleError, match="has not at t = 0; end above t = 0"):
        torchdiff.plan("cld", "cld_exp", times=[0.5, 0.0], prediction="score")
    apart = MatrixSDE(lambda t: [[-1.0, 0.0], [0.0, -1.0]], lambda t: [[0.0, 0.0], [0.0, 1.0]], start=(0.1,))
    with pytest.raises(IncompatibleError, match="let noise reach every block"):
        torchdiff.plan(apart, "cld_exp", times=[0.5, 0.2], prediction="score", final="t_min")
    # dx = 8 v, dv = -8 x - v: after half a turn position and velocity have forgotten which part of them is x0
    swings = MatrixSDE(lambda t: [[0.0, 8.0], [-8.0, -1.0]], lambda t: [[0.0, 0.0], [0.0, 1.4]], start=(0.1,))
    blind = brentq(lambda t: reading(swings.level(t), "x0").factor, 0.2, 0.5, xtol=1e-13)
    options = dict(times=[blind, 0.2], prediction="score", final="t_min")
    with pytest.raises(IncompatibleError, match="says nothing of x0; take cld_exp:hold=eps"):
        torchdiff.plan(swings, "cld_exp", **options)
    torchdiff.plan(swings, "cld_exp:hold=eps", **options)
