"""Processes given by a user's functions agree with the closed forms of the same process."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import torchdiff
from torchdiff import gaussian
from torchdiff.errors import OptionError
from torchdiff.registry import SDES
from torchdiff.sde import CLD, BetaSDE, DriftSDE, MarginalSDE, MatrixSDE

BOUND = 1e-10  # what is promised; measured: 9e-11 for alpha' of `cosine` by differences, below 1e-11 elsewhere
SCALARS = ["vp", "sub_vp", "cosine", "ve", "edm", "flow:t_max=0.99", "ddpm"]
PRESERVING = ["vp", "cosine", "ddpm"]


def by_beta(exact):
    return BetaSDE(lambda t: exact.noise(t)[0][0] ** 2, exact.t_min, exact.t_max)


def by_drift(exact):
    return DriftSDE(lambda t: exact.drift(t)[0][0], lambda t: exact.noise(t)[0][0], exact.t_min, exact.t_max)


def by_marginals(exact):
    return MarginalSDE(exact.alpha, exact.sigma, exact.t_min, exact.t_max)


CASES = [
    *((by_beta, name) for name in PRESERVING),
    *((by_drift, name) for name in SCALARS if name != "ve"),  # from t = 0 its f and g make it without its floor
    *((by_marginals, name) for name in SCALARS),
]


def close(got, wanted, scale=None, bound=BOUND):
    assert abs(got - wanted) <= bound * abs(scale or wanted), (got, wanted)


@pytest.mark.parametrize(("make", "name"), CASES)
def test_numeric_kinds_are_the_closed_forms(make, name):
    """alpha, sigma, their rates, drift, diffusion, the inverse and transitions, spans of 1e-9 included, to 1e-10."""
    exact = SDES.get(name)
    numeric = make(exact)
    for part in (1e-8, 1e-5, 1e-3, 0.02, 0.1, 0.3, 0.7, 0.97):
        t = part * exact.t_max
        close(numeric.alpha(t), exact.alpha(t))
        close(numeric.sigma(t), exact.sigma(t))
        falling, rising = exact.rates(t)
        close(numeric.rates(t)[0], falling, falling or 1.0 / exact.t_max)
        # sigma' = F sigma + G^2 / 2 sigma: the two cancel where sigma nears 1, so the scale is theirs
        close(numeric.rates(t)[1], rising, max(abs(rising), abs(exact.drift(t)[0][0]) * exact.sigma(t)))
        close(numeric.drift(t)[0][0], exact.drift(t)[0][0], exact.drift(t)[0][0] or 1.0 / exact.t_max)
        close(numeric.noise(t)[0][0], exact.noise(t)[0][0])
        level = exact.level(t)
        found = numeric.at(level.half_log_snr)
        close(found.alpha / found.sigma, level.alpha / level.sigma)
        for span in (1e-9, 1e-4, 0.02):
            end = t + span * exact.t_max
            for got, wanted in zip(numeric.transition(t, end), exact.transition(t, end), strict=True):
                close(got[0][0], wanted[0][0])


@pytest.mark.parametrize("name", ["cld", "cld:beta=0.1,slope=6.9", "cld:mass=1,beta=1,gamma=0", "cld:beta=20"])
def test_matrices_give_cld(name):
    """Levels and transitions of MatrixSDE from CLD's own F and G are CLD's, each row of the factor to 1e-10 relatively.

    beta = 20: over 40 relaxation times E and Sxv vanish among roundings, and the solver comes to an end all the same.
    """
    exact = SDES.get(name)
    numeric = MatrixSDE(exact.drift, exact.noise, start=(exact.gamma * exact.mass,))
    pairs = [(numeric.level(t)[1:], exact.level(t)[1:]) for t in (1e-8, 1e-6, 1e-4, 1e-2, 0.1, 0.5, 1.0)]
    for start in (0.0, 1e-3, 0.2, 0.7):
        pairs += [(numeric.transition(start, start + d), exact.transition(start, start + d)) for d in (1e-9, 1e-3, 0.3)]
    for got, wanted in pairs:
        np.testing.assert_allclose(got[0], wanted[0], rtol=0.0, atol=BOUND)  # entries of order 1, some of them 0
        scale = np.diag(wanted[1])[:, None]  # of L21 too, which vanishes as x and v become independent
        np.testing.assert_allclose(got[1] / scale, wanted[1] / scale, rtol=0.0, atol=BOUND)
    np.testing.assert_allclose(numeric.prior(1.0), exact.prior(1.0), rtol=0.0, atol=1e-12)


def test_paths_that_cancel_have_an_end():
    """Equal noise in three blocks that rotate: the covariance is a multiple of 1, its zeros made of differences."""
    turn = np.array([[-0.7, 5.1, -2.3], [-5.1, -0.7, 1.9], [2.3, -1.9, -0.7]])
    rotating = MatrixSDE(lambda t: turn.tolist(), lambda t: np.eye(3).tolist(), blocks=3, t_max=3.0)
    for mean, factor, t in ((*rotating.transition(0.5, 3.0), 2.5), (*rotating.level(2.0)[1:], 2.0)):
        np.testing.assert_allclose(mean, expm(turn * t), rtol=0.0, atol=BOUND)
        np.testing.assert_allclose(factor, math.sqrt(-math.expm1(-1.4 * t) / 1.4) * np.eye(3), rtol=0.0, atol=BOUND)


def test_short_spans_of_fast_matrices_keep_their_digits():
    """A beta that swings within 2e-5: the factor over a span of 1e-5, whose position has 1e-15, to 1e-10 relatively."""
    unit, pace = CLD(beta=1.0), 3e5

    def beta(t):
        return 4.0 * (1.0 + 0.95 * math.sin(pace * t))

    fast = MatrixSDE(lambda t: unit.drift(t) * beta(t), lambda t: unit.noise(t) * math.sqrt(beta(t)))
    start, end = 0.1, 0.1 + 1e-5
    middle, half = 0.5 * pace * (start + end), 0.5 * pace * (end - start)
    clock = 4.0 * (end - start) + 7.6 * math.sin(middle) * math.sin(half) / pace
    wanted = unit.transition(0.0, clock)[1]
    np.testing.assert_allclose(fast.transition(start, end)[1], wanted, rtol=BOUND, atol=0.0)


def test_matrices_that_do_not_commute_follow_their_equation():
    """mean' = F mean, cov' = F cov + cov F^T + G G^T, by another method (Radau) on a process whose F turns with t."""

    def drift(t):
        return np.array([[-1.0, 3.0 + 9.0 * t], [-6.0 + 12.0 * t, -2.0 - t]])

    def noise(t):
        return np.array([[0.0, 0.5], [1.0, 1.0 + t]])

    def rule(t, y):
        mean, cov = y.reshape(2, 2, 2)
        along = drift(t) @ cov
        return np.concatenate([(drift(t) @ mean).ravel(), (along + along.T + noise(t) @ noise(t).T).ravel()])

    first = np.concatenate([np.eye(2).ravel(), np.zeros(4)])
    mean, cov = solve_ivp(rule, (0.0, 1.0), first, method="Radau", rtol=1e-9, atol=1e-12).y[:, -1].reshape(2, 2, 2)
    turning = MatrixSDE(lambda t: drift(t).tolist(), lambda t: noise(t).tolist())
    for got, factor in (turning.transition(0.0, 1.0), turning.level(1.0)[1:]):
        np.testing.assert_allclose(got, mean, rtol=0.0, atol=1e-7)  # Radau's 1e-9 a step, over some 100 steps
        np.testing.assert_allclose(factor @ factor.T, cov, rtol=0.0, atol=1e-7)


@pytest.mark.parametrize("solver", ["euler_maruyama", "ode", "rk", "adams", "srk", "cld_exp:order=1,eta=1"])
def test_a_process_of_one_block_takes_the_steps_of_the_scalar_one(solver):
    """1 x 1 matrices are f and g: what a step makes of x, its noise and the score is what it makes on `vp`.

    cld_exp holds x0 on both; at order 2 its line is one in t for matrices and one in log-SNR for a scalar process.
    """
    exact = SDES.get("vp")
    numeric = MatrixSDE(exact.drift, exact.noise, blocks=1)
    want, got = (
        gaussian.push(torchdiff.plan(sde, solver, steps=6, grid="uniform", final="t_min", prediction="score"), 0.25)
        for sde in (exact, numeric)
    )
    for a, b in zip(want, got, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-12)  # levels are good to 1e-10


def test_what_has_no_stationary_law_starts_from_its_own_noise():
    """The prior is the stationary law where F and G have one at all times, else the noise of the level."""
    moving = MatrixSDE(lambda t: [[0, 1], [-1, -2]], lambda t: [[0, 0], [0, 2.0 + t]])
    assert moving.prior(1.0) == moving.level(1.0).sigma
    still = MatrixSDE(lambda t: [[0, 1], [-1, -2]], lambda t: [[0, 0], [0, 2.0]])
    np.testing.assert_allclose(still.prior(1.0), np.eye(2), atol=1e-14)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: BetaSDE(lambda t: -1.0).level(0.5), "beta(t) must not be negative"),
        (lambda: BetaSDE(lambda t: math.nan).level(0.5), "finite number on the whole range"),
        (lambda: BetaSDE(lambda t: "x").level(0.5), "finite number on the whole range"),
        (lambda: DriftSDE(lambda t: -1.0, lambda t: math.inf).level(0.5), "g(t) must be a finite number"),
        (lambda: MarginalSDE(lambda t: 0.5, lambda t: t).level(0.5), "alpha(0) must be 1"),
        (lambda: MarginalSDE(lambda t: 1.0, lambda t: 1.0 - t).level(0.5), "alpha / sigma must fall"),
        (lambda: MarginalSDE(lambda t: 1.0, lambda t: -t).level(0.5), "sigma(t) must not be negative"),
        (lambda: MatrixSDE(lambda t: [[1.0]], lambda t: [[1.0]]).level(0.5), "2 rows of 2 numbers"),
        (lambda: MatrixSDE(lambda t: 3, lambda t: [[1.0]]).level(0.5), "2 rows of 2 numbers"),
        (lambda: MatrixSDE(lambda t: [[0, 1], [0, math.nan]], lambda t: [[0, 0], [0, 1]]).level(0.5), "F(t) must be"),
        (lambda: MatrixSDE(lambda t: [[0]], lambda t: [[0]], start=(1.0, 2.0)), "variances of the 1 blocks"),
        (lambda: BetaSDE(lambda t: 1.0, t_min=2.0), "t_min < t_max"),
    ],
)
def test_functions_that_make_no_process_are_named(make, says):
    """A function that returns what no process has is one OptionError that names it and the value."""
    with pytest.raises(OptionError) as error:
        make()
    assert says in str(error.value)
