"""A process of position, velocity and acceleration, known by its matrices alone, on everything that takes blocks."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.linalg import expm

import torchdiff
from torchdiff import gaussian
from torchdiff.blocks import Mat
from torchdiff.errors import IncompatibleError
from torchdiff.registry import SDES
from torchdiff.sde import MatrixSDE
from torchdiff.solvers.sscs import reversed_kernel

GAMMA, XI = 2.0 * math.sqrt(2.0), 3.0 * math.sqrt(3.0)


def beta(t):
    return 2.0 + 3.0 * t


def drift(t):
    """dq = beta p, dp = beta (-q + gamma s), ds = beta (-gamma p - xi s) + noise: N(0, 1) stays in all three."""
    return [[0.0, beta(t), 0.0], [-beta(t), 0.0, GAMMA * beta(t)], [0.0, -GAMMA * beta(t), -XI * beta(t)]]


def noise(t):
    return [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, math.sqrt(2.0 * XI * beta(t))]]


SDE = MatrixSDE(drift, noise, blocks=3, start=(0.04, 0.04))


def kernel(start, end):
    mean, factor = map(np.array, SDE.transition(start, end))
    return mean, factor @ factor.T


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (0.2, 0.5), (0.5, 0.5001)])
def test_transitions_are_matrix_exponentials(start, end):
    """F(t) is beta(t) times one matrix, so the kernel is exp of it over the clock, and Q = 1 - E E^T."""
    clock = 2.0 * (end - start) + 1.5 * (end**2 - start**2)
    exact = expm(np.array(drift(0.0)) / beta(0.0) * clock)
    mean, cov = kernel(start, end)
    np.testing.assert_allclose(mean, exact, rtol=0.0, atol=1e-12)  # expm and the solver are good to 1e-13
    np.testing.assert_allclose(cov, np.eye(3) - exact @ exact.T, rtol=0.0, atol=1e-12)


def test_transitions_compose():
    """kernel(t -> u) after kernel(s -> t) is kernel(s -> u)."""
    for start, middle, end in ((0.0, 1e-3, 0.4), (0.1, 0.3, 1.0)):
        (first, early), (second, late) = kernel(start, middle), kernel(middle, end)
        mean, cov = kernel(start, end)
        np.testing.assert_allclose(second @ first, mean, rtol=0.0, atol=1e-12)
        np.testing.assert_allclose(second @ early @ second.T + late, cov, rtol=0.0, atol=1e-12)


def test_short_spans_keep_their_digits():
    """Over a span dt the position has the variance G^2 (gamma beta)^2 beta^2 dt^5 / 20 to leading order, relatively."""
    for dt in (1e-4, 1e-6, 1e-8):
        cov, b = kernel(0.3, 0.3 + dt)[1], beta(0.3 + 0.5 * dt)
        dt = (0.3 + dt) - 0.3
        leading = 2.0 * XI * b * (GAMMA * b) ** 2 * b**2 * dt**5 / 20.0
        assert cov[0, 0] / leading == pytest.approx(1.0, abs=40.0 * dt + 1e-10)  # 40: 4 |F|, as for two blocks


def test_the_prior_is_the_stationary_law():
    """N(0, 1) in each block, found from the matrices."""
    np.testing.assert_allclose(SDE.prior(1.0), np.eye(3), atol=1e-12)


class Quick(MatrixSDE):
    """SDE with its transitions from expm, good to 1e-15 of 1; MatrixSDE solves each of them anew, in 20 ms."""

    def transition(self, start, end):
        exact = expm(np.array(drift(0.0)) / beta(0.0) * ((end - start) * (2.0 + 1.5 * (end + start))))
        return Mat(exact.tolist()), Mat((np.eye(3) - exact @ exact.T).tolist()).cholesky()


@pytest.mark.parametrize(
    ("solver", "order", "most"),
    [
        ("euler_maruyama", 1, 512),
        ("ode", 2, 1024),
        ("ode:method=euler", 1, 512),
        ("rk:tableau=kutta3", 3, 256),
        ("srk", 2, 256),
        ("sscs", 1, 128),
        ("sscs_2s", 2, 128),
        ("sscs_2m", 2, 128),
        ("cld_exp", 2, 256),
        ("cld_exp:eta=1", 2, 256),
        ("cld_exp:order=1", 1, 256),
    ],
)
def test_block_solvers_keep_their_order(solver, order, most):
    """The covariance error of the exact push-forward of Gaussian data falls with the declared order."""
    sde, errors = Quick(drift, noise, blocks=3, start=(0.04, 0.04)), []
    for steps in (most // 4, most // 2, most):
        plan = torchdiff.plan(sde, solver, steps=steps, t_max=0.8, t_min=0.2, final="t_min", prediction="score")
        start, end = (gaussian.marginal(sde, plan.grid[i], (0.3, 2.0)) for i in (0, -1))
        errors.append(float(np.abs(gaussian.push(plan, (0.3, 2.0)).apply(start).cov - end.cov).max()))
    p = [math.log2(a / b) for a, b in pairwise(errors)]
    assert abs(2.0 * p[1] - p[0] - order) < 0.03  # of Richardson's slope ; measured: 0.016 at most


@pytest.mark.parametrize("solver", ["euler_maruyama", "ode", "sscs"])
def test_it_is_sampled(solver):
    """Samples from the exact score of N(0, 0.25) data have its variance, within the sampling error of 4000 of them."""

    def score(q, p, s, t):
        law = gaussian.marginal(SDE, SDE.level(float(t[0])), 0.25)
        gains = -np.linalg.inv(law.cov[0])[-1]
        return q * gains[0] + p * gains[1] + s * gains[2]

    out = torchdiff.sample(
        score, SDE, solver, steps=100, shape=(4000, 1), prediction="score", seed=3, dtype=torch.float64
    )
    plan = out.plan
    wanted = float(gaussian.moments(plan, 0.25).cov[0, 0, 0])  # with the error of the steps, exactly
    # five standard errors of a variance from 4000 samples: 5 sqrt(2 / 4000)
    assert float(out.x.var()) == pytest.approx(wanted, rel=0.112)
    assert wanted == pytest.approx(0.25, rel=0.1)


def test_sscs_says_what_it_cannot_do():
    """One block, and a process whose prior moves, are refused by name."""
    moving = MatrixSDE(lambda t: [[0, 1], [-1, -2]], lambda t: [[0, 0], [0, 2.0 + t]])
    for sde, says in (("vp", "more than one block"), (moving, "a prior that the SDE leaves as it is")):
        with pytest.raises(IncompatibleError, match=says):
            torchdiff.plan(sde, "sscs", steps=4)


@pytest.mark.parametrize("spec", ["cld", "cld:mass=0.4", "cld:beta=0.1,slope=6.9"])
def test_the_reverse_of_cld_is_its_flipped_kernel(spec):
    """reversed_kernel is J E J, J L with J = diag(1, -1): each entry to 1e-13 relatively, spans of 1e-8 included.

    1e-13: 30 (the condition up to which E is inverted) times some 10 roundings of 1e-16.
    """
    sde, flip = SDES.get(spec), Mat.diag(1.0, -1.0)
    for span in (1e-8, 1e-4, 0.03, 0.6):
        forward, spread = sde.transition(0.2, 0.2 + span)
        mean, factor = reversed_kernel(forward, spread, sde.prior(0.2))
        np.testing.assert_allclose(mean, flip @ forward @ flip, rtol=1e-13, atol=1e-16)
        np.testing.assert_allclose(factor, flip @ spread, rtol=1e-13, atol=0.0)


@pytest.mark.parametrize("solver", ["euler_maruyama", "ode", "sscs"])
@pytest.mark.parametrize(("driving", "says"), [((1.0, 2.0), "1 and 2 of 2 blocks"), ((1.0, 0.0), "drives 1 of 2")])
def test_noise_drives_the_last_block_alone(solver, driving, says):
    """A network tells the score of the last block, so other driven blocks are refused, not sampled with score 0."""
    # each row is stationary by itself or by the other's friction: sscs too gets as far as the noise
    sde = MatrixSDE(
        lambda t: [[-0.5 * driving[0] ** 2, 1.0], [-1.0, -0.5 * driving[1] ** 2]],
        lambda t: [[driving[0], 0.0], [0.0, driving[1]]],
    )
    with pytest.raises(IncompatibleError, match=says):
        torchdiff.plan(sde, solver, steps=4)


@pytest.mark.parametrize("friction", [2.0, 4.0, 10.0])
def test_the_reverse_of_any_span_leaves_the_stationary_law(friction):
    """M M^T + L L^T = 1 from spans of 1e-6 to some where E is singular to all digits: to 1e-11 of 1."""
    rows, noise = [[0.0, 1.0], [-1.0, -friction]], [[0.0, 0.0], [0.0, math.sqrt(2.0 * friction)]]
    sde = MatrixSDE(lambda t: rows, lambda t: noise, start=(1.0,), t_max=20.0)
    for span in (1e-6, 0.01, 0.5, 1.0, 2.0, 5.0, 19.0):
        mean, factor = map(np.array, reversed_kernel(*sde.transition(0.05, 0.05 + span), sde.prior(1.0)))
        exact = expm(np.array(rows) * span)
        np.testing.assert_allclose(mean, exact.T, rtol=0.0, atol=1e-12)  # the solver's tolerance is 1e-13
        # 30 times the solver's tolerance where E is inverted
        np.testing.assert_allclose(factor @ factor.T, np.eye(2) - exact.T @ exact, rtol=0.0, atol=1e-11)
