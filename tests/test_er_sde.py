"""ER-SDE: its integrals against the paper's formulas in 30 digits, its members, its orders."""

from __future__ import annotations

import math
from types import SimpleNamespace

import mpmath
import pytest
from test_exponential_euler import agree

import torchdiff
from torchdiff import get_sde, get_solver
from torchdiff.errors import OptionError
from torchdiff.solvers import Span
from torchdiff.solvers.er_sde import SCALERS, carry, er_step, noise_of
from torchdiff.testing.order import cases
from torchdiff.testing.report import OK
from torchdiff.testing.solvers import weak_order

# phi(r), as the paper's code has them
PHI = {
    "ode": lambda r: r,
    "sde": lambda r: r**2,
    "er_1": lambda r: r * (mpmath.exp(-1 / r) + 10),
    "er_2": lambda r: r ** mpmath.mpf(1.5),
    "er_3": lambda r: r ** mpmath.mpf(2.5),
    "er_4": lambda r: r ** (mpmath.mpf(9) / 10) * mpmath.log10(1 + 100 * r ** mpmath.mpf(1.5)),
    "er_5": lambda r: r * (mpmath.exp(r ** (mpmath.mpf(3) / 10)) + 10),
}
# the levels of two steps back, one back, the start and the end of a step: long and short, with much and little noise
STEPS = [
    ("ve", (0.99, 0.95, 0.9, 0.3)),
    ("ve", (0.31, 0.303, 0.3, 0.2999)),
    ("vp", (0.9, 0.8, 0.7, 0.4)),
    ("vp", (0.02, 0.012, 0.01, 0.001)),
]


def exact(value):
    return mpmath.mpf(value)


def spans(sde, times):
    """(levels from the start of the step back, level of the end), and sigma / alpha of each in 30 digits."""
    *known, end = (get_sde(sde).level(t) for t in times)
    ratios = [exact(level.sigma) / exact(level.alpha) for level in (*known[::-1], end)]
    return known[::-1], end, ratios[:-1], ratios[-1]


BACK = [("vp", (0.003, 0.002, 0.001, 1.0))]  # from data to noise, over more than 2 pi in log-SNR


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("scaler", PHI)
@pytest.mark.parametrize(("sde", "times"), STEPS + BACK)
def test_step_is_the_papers_formula_with_exact_integrals(sde, times, scaler, order):
    """x / alpha: q x + (1 - q) x0 + (d + phi S_0) x0' + (d^2 / 2 + phi S_1) x0'' in 30 digits.

    S_k = int (r - r_cur)^k / phi dr over the step, d = r_nxt - r_cur; x0' and x0'' are those of the parabola through
    three predictions at r_cur, which the paper's code replaces by difference quotients of lower order.
    """
    (cur, *past), nxt, (start, *before), end = spans(sde, times)
    values = [0.7, -0.4, 0.3][:order]
    got = er_step(0.2, cur, nxt, list(zip([cur, *past], values, strict=False)), SCALERS[scaler])
    with mpmath.workdps(30):
        phi, step = PHI[scaler], end - start
        q = phi(end) / phi(start)
        # four pieces, each a smooth integrand
        cuts = [end * (start / end) ** (exact(i) / 4) for i in range(5)]
        sums = [phi(end) * mpmath.quad(lambda r, k=k: (r - start) ** k / phi(r), cuts) for k in range(2)]
        m = [exact(value) for value in values]
        want = q * exact(0.2) / cur.alpha + (1 - q) * m[0]
        if order > 1:
            first = (m[0] - m[1]) / (start - before[0])
            bend = 0
            if order > 2:
                bend = (first - (m[1] - m[2]) / (before[0] - before[1])) / (start - before[1])
            slope = first + bend * (start - before[0])
            want += (step + sums[0]) * slope + (step**2 / 2 + sums[1]) * 2 * bend
        # 1e-13: rounding of the floats sigma and alpha in differences of neighbouring r, 4e-4 of r at the least
        assert abs(got / nxt.alpha - want) < 1e-13 * (1 + abs(want))


@pytest.mark.parametrize("scaler", PHI)
@pytest.mark.parametrize(("sde", "times"), STEPS)
def test_noise_keeps_the_marginal(sde, times, scaler):
    """The noise is sqrt(r_nxt^2 - q^2 r_cur^2), q = phi(r_nxt) / phi(r_cur), without the digits that it loses."""
    (cur, *_), nxt, (start, *_), end = spans(sde, times)
    with mpmath.workdps(60):
        q = PHI[scaler](end) / PHI[scaler](start)
        lost = 1 - (q * start / end) ** 2
        want = nxt.alpha * end * mpmath.sqrt(lost)
        got = noise_of(cur, nxt, SCALERS[scaler])
        # 1e-12: the last bits of r_cur and r_nxt in a step of 4e-4 of r. 1e-15 of sigma: er_1's noise is e^{-22} of it
        # in the last step, and no polynomial of eight points
        assert abs(got - want) <= 1e-12 * want + 1e-15 * nxt.sigma
        assert abs(carry(cur, nxt, SCALERS[scaler]) - q * nxt.alpha / cur.alpha) < 1e-14 * q


def test_noise_of_the_single_start_is_that_of_the_step():
    """Drawn for the two halves, the first half's carried on: together the variance of the whole, where x0 stays."""
    sde, solver = get_sde("vp"), get_solver("er_sde:start=single")
    cur, nxt = sde.level(0.9), sde.level(0.4)
    weights, intervals = [], []
    for mine in range(2):

        def noise(start, end, mine=mine):
            intervals.append((start, end))
            return 1.0 if len(intervals) % 2 == (mine + 1) % 2 else 0.0

        weights.append(solver.step(0.0, Span(sde, (cur, nxt), 0), lambda x, level: SimpleNamespace(x0=0.0), noise).x)
    (first, middle), (again, last) = intervals[:2]
    assert (first, last, middle) == (cur, nxt, again)
    # 1e-14: a handful of operations
    assert math.hypot(*weights) == pytest.approx(noise_of(cur, nxt, SCALERS["er_5"]), rel=1e-14)


@pytest.mark.parametrize("prediction", ["eps", "x0"])
@pytest.mark.parametrize("sde", ["vp", "ve", "flow:t_min=0.01,t_max=0.99"])
@pytest.mark.parametrize(
    ("scaler", "other"),
    [
        ("ode", "ddim"),
        ("sde", "ddpm"),
        ("sde", "dpmpp_1_sde"),
        ("er_2", f"eta_family:eta={0.5**0.5!r}"),
        ("er_3", f"eta_family:eta={1.5**0.5!r}"),
    ],
)
def test_powers_of_first_order_are_the_eta_family(scaler, other, sde, prediction):
    """phi = r^p has the noise of eta^2 = p - 1: DDIM, DDPM and those between and beyond."""
    assert agree([f"er_sde:order=1,scaler={scaler}", other], sde, prediction=prediction)


@pytest.mark.parametrize(
    "spec",
    [
        "er_sde:order=3,scaler=ode,start=single",  # where all of the third order shows
        "er_sde:order=2,scaler=er_1",
        "er_sde:order=2,scaler=er_4",
        "er_sde:order=1,scaler=er_5",
    ],
)
def test_members_have_their_order(spec):
    """The order law of the registered default, on its telling options."""
    solver = get_solver(spec)
    for _, _, _, verdict, *_ in weak_order(solver, cases(solver, ["vp"]), {}, 2048):
        assert verdict == OK


def test_the_probability_flow_runs_from_data_to_noise():
    """There and back with 1024 steps of order 3 is where it began, to the error of one way: 5e-9 on a Gaussian."""
    times = [0.1 + 0.8 * i / 1024 for i in range(1025)]
    gains = []
    for way in (times, times[::-1]):
        plan = torchdiff.plan("vp", "er_sde:scaler=ode,start=single", times=way, prediction="eps", final="t_min")
        gains.append(float(torchdiff.gaussian.push(plan, 0.25).matrix[0, 0, 0]))
    assert abs(gains[0] * gains[1] - 1.0) < 1e-7


@pytest.mark.parametrize(
    "spec", ["er_sde:order=4", "er_sde:scaler=er_6", "er_sde:start=none", "er_sde:order=1,start=single"]
)
def test_unknown_options_are_refused(spec):
    """An order outside 1..3, another scaler or start, a start of order 1: what came and what there is."""
    with pytest.raises(
        OptionError, match=r"er_sde: (order is from 1 to 3|scaler is one of ode, sde|start is 'lower'|order 1 needs no)"
    ):
        get_solver(spec)


def test_a_scaler_that_asks_for_negative_noise_is_refused():
    """r^-0.1 log(1 + 100 r^1.5) falls from r = 1020 on: there er_4 has no noise to add, and says so."""
    with pytest.raises(OptionError, match="er_4's does above 1020"):
        torchdiff.plan("ve:sigma_max=2000", "er_sde:scaler=er_4", steps=1000, prediction="eps")
    torchdiff.plan("ve:sigma_max=1000", "er_sde:scaler=er_4", steps=1000, prediction="eps")  # below it there is noise
