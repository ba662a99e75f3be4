"""Single steps of solvers against their papers, by hand; and the way from data to noise."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.linalg import expm

import torchdiff
from torchdiff import gaussian, get_sde, get_solver
from torchdiff.blocks import Blocks
from torchdiff.drive import take
from torchdiff.form import Form
from torchdiff.solvers import Span

CUR, NXT = 0.6, 0.3  # a coarse step, in which beta_t = 0.91 and every power and root of a weight shows
ROUNDING = 1e-14  # a weight is a dozen float64 operations, none of which cancels on a coarse step: some 1e-15


def alpha_bar(t: float) -> float:
    """alpha-bar of VP: exp(-integral of beta), beta from 0.1 to 20."""
    return math.exp(-0.5 * t * t * 19.9 - 0.1 * t)


def one_step(solver: str, prediction: str, sde: str = "vp", times: tuple[float, ...] = (CUR, NXT)):
    """The weights on (x, network output) and the noise weight of the first row that the solver writes."""
    item = torchdiff.plan(sde, solver, times=times, prediction=prediction, final="t_min").items[0]
    assert item.reads == (0, 1)
    return np.array([*item.weights[0], *item.noise[0]])


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_ddpm_is_the_posterior_of_its_paper(variance):
    """The weights on x and x0 and the noise weight of a step are Ho et al.'s eqs. 6 and 7 in alpha-bar and beta."""
    bar_t, bar_p = alpha_bar(CUR), alpha_bar(NXT)
    alpha = bar_t / bar_p
    beta = 1.0 - alpha
    on_x, on_x0 = (math.sqrt(alpha) * (1.0 - bar_p) / (1.0 - bar_t), math.sqrt(bar_p) * beta / (1.0 - bar_t))
    noise = {"fixed_small": beta * (1.0 - bar_p) / (1.0 - bar_t), "fixed_large": beta}[variance]
    expected = [on_x, on_x0, math.sqrt(noise)]
    np.testing.assert_allclose(one_step(f"ddpm:variance={variance}", "x0"), expected, rtol=ROUNDING)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_ddim_is_eqs_12_and_16_of_its_paper(eta):
    """The noise weight is eta sqrt((1 - abar_p) / (1 - abar_t)) sqrt(1 - abar_t / abar_p), the rest goes to eps."""
    bar_t, bar_p = alpha_bar(CUR), alpha_bar(NXT)
    up = eta * math.sqrt((1.0 - bar_p) / (1.0 - bar_t)) * math.sqrt(1.0 - bar_t / bar_p)
    on_x = math.sqrt(bar_p / bar_t)
    on_eps = math.sqrt(1.0 - bar_p - up**2) - on_x * math.sqrt(1.0 - bar_t)
    np.testing.assert_allclose(one_step(f"ddim:eta={eta}", "eps"), [on_x, on_eps, up], rtol=ROUNDING)


def test_annealed_langevin_is_its_formula():
    """ALD: weights 1, e and sqrt(2 e), e = 2 alpha_i (snr sigma)^2, alpha_i = alpha_t of DDPM = abar_t / abar_p."""
    e = 2.0 * alpha_bar(CUR) / alpha_bar(NXT) * 0.2**2 * (1.0 - alpha_bar(CUR))
    solver = "predictor_corrector:predictor=ddim,corrector=(ald:snr=0.2)"
    np.testing.assert_allclose(one_step(solver, "score"), [1.0, e, math.sqrt(2.0 * e)], rtol=ROUNDING)
    e = 2.0 * 0.2**2 * (0.01 * 5000.0**CUR) ** 2  # VE: alpha = 1 and sigma = 0.01 (50 / 0.01)^t
    np.testing.assert_allclose(one_step(solver, "score", "ve"), [1.0, e, math.sqrt(2.0 * e)], rtol=ROUNDING)


def langevin_step(norm: str, score: torch.Tensor, z: torch.Tensor, repeat: int = 1) -> torch.Tensor:
    """What one coarse interval of the corrector adds to x on VP, with snr = 0.2."""
    sde, x = get_sde("vp"), torch.tensor([[1.0, -1.0], [0.5, 2.0]], dtype=torch.float64)
    span = Span(sde, (sde.level(CUR), sde.level(NXT)), 0)
    solver = get_solver(f"langevin:snr=0.2,norm={norm},repeat={repeat}")
    return solver.step(x, span, lambda x, level: SimpleNamespace(score=score), lambda start, end: z) - x


@pytest.mark.parametrize(
    ("norm", "ratios"),
    [
        ("sample", (1.0 / 5.0, 4.0 / 2.0)),  # |z| / |score| of each row
        ("batch", ((1.0 + 4.0) / (5.0 + 2.0),) * 2),  # the mean of |z| over the mean of |score|
    ],
)
def test_langevin_is_its_formula(norm, ratios):
    """x moves by e score + sqrt(2 e) z, e = 2 alpha_i (snr |z| / |score|)^2, with norms of samples or their means."""
    score, z = (
        torch.tensor(rows, dtype=torch.float64) for rows in ([[3.0, 4.0], [0.0, -2.0]], [[0.6, -0.8], [4.0, 0.0]])
    )
    e = torch.tensor([[2.0 * alpha_bar(CUR) / alpha_bar(NXT) * (0.2 * r) ** 2] for r in ratios], dtype=torch.float64)
    moved = langevin_step(norm, score, z)
    torch.testing.assert_close(moved, e * score + (2.0 * e).sqrt() * z, rtol=0.0, atol=1e-15)  # x is 2 at most
    torch.testing.assert_close(langevin_step(norm, score, z, repeat=3), 3.0 * moved, rtol=0.0, atol=3e-15)


@pytest.mark.parametrize(("norm", "still"), [("sample", [True, False]), ("batch", [False, False])])
def test_langevin_rests_where_the_norm_of_the_score_is_zero(norm, still):
    """A score norm of 0 means a step of 0, not infinity: x stays bit for bit, and only where that norm is its own."""
    score, z = torch.zeros(2, 2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64)
    assert torch.equal(langevin_step(norm, score, z), torch.zeros_like(z))
    score[1] = 1.0  # a batch mean is then above 0, and the noise moves both
    moved = langevin_step(norm, score, z)
    assert (moved == 0.0).all(dim=1).tolist() == still
    assert moved.isfinite().all()


@pytest.mark.parametrize("solver", ["sscs", "euler_maruyama"])
def test_cld_ends_with_the_mean_of_euler_maruyama(solver):
    """The last interval, t to 0, is x - t beta v / M, v + t beta (x + Gamma v / M + 2 Gamma score), without noise."""
    plan = torchdiff.plan("cld:mass=0.49,beta=0.1,slope=6.9", solver, times=[0.5, 0.2], prediction="score")
    last, t, beta, mass, friction = plan.items[-1], 0.2, 0.1 + 6.9 * 0.2, 0.49, 1.4
    assert (last.at.t, plan.grid[-1].t, last.draws) == (0.2, 0.0, ())
    assert (last.reads, last.feed, plan.result) == ((0, 1, 2), (0, 1), (0, 1))
    expected = [
        [1.0, -t * beta / mass, 0.0],
        [t * beta, 1.0 + t * beta * friction / mass, t * beta * 2.0 * friction],
    ]
    np.testing.assert_allclose(last.weights, expected, rtol=ROUNDING)


@pytest.mark.parametrize("times", [(0.9, 0.4), (0.3, 0.05)])
@pytest.mark.parametrize("sde", ["cld:beta=0.1,slope=6.9", "cld:mass=1,beta=0.5,slope=2"])
@pytest.mark.parametrize("solver", ["sscs", "sscs_2s", "sscs_2m"])
def test_sscs_of_the_stationary_score_is_the_exact_kernel(solver, sde, times):
    """With score -v / M the score step vanishes: two half steps make the exact reverse kernel of the whole interval."""
    sde = get_sde(sde)
    cur, nxt = map(sde.level, times)
    draws = iter(range(100))

    def predict(x, level):
        return SimpleNamespace(score=Blocks([x[0] * 0.0, x[1] * (-1.0 / sde.mass)]))

    def noise(start, end):
        return Blocks(Form.column(~next(draws)) for _ in range(2))

    x = Blocks(map(Form.column, range(2)))
    forms = take(get_solver(solver), 0, x, Span(sde, (cur, nxt), 0), predict, noise).x
    mean = np.array([[form.terms.get(key, 0.0) for key in range(2)] for form in forms])
    fresh = np.array([[form.terms.get(~draw, 0.0) for draw in range(4)] for form in forms])
    # J exp(A B) J with B the integral of beta over the interval; the stationary law N(0, 1) x N(0, M) stays as it is
    clock = sde.beta * (cur.t - nxt.t) + 0.5 * sde.slope * (cur.t**2 - nxt.t**2)
    flip, stationary = np.diag([1.0, -1.0]), np.diag([1.0, sde.mass])
    generator = np.array([[0.0, 1.0 / sde.mass], [-1.0, -2.0 / math.sqrt(sde.mass)]])
    exact = flip @ expm(generator * clock) @ flip
    # 1e-13: expm of a defective matrix is good to some 1e-14
    np.testing.assert_allclose(mean, exact, rtol=0.0, atol=1e-13)
    np.testing.assert_allclose(fresh @ fresh.T, stationary - exact @ stationary @ exact.T, rtol=0.0, atol=1e-13)


# solver, and the order of its way there and back
DETERMINISTIC = [("ddim", 1.0), ("heun", 3.0), ("ode", 3.0), ("ode:method=euler", 1.0), ("dpmpp_2m", 2.0)]
SPANS = {"vp": (0.05, 0.6), "ve": (0.4, 0.9), "flow:t_min=0.02,t_max=0.98": (0.1, 0.9)}


def rising(sde: str, steps: int) -> list[float]:
    low, high = SPANS[sde]
    return [low + (high - low) * i / steps for i in range(steps + 1)]


@pytest.mark.parametrize("sde", SPANS)
@pytest.mark.parametrize("solver", [solver for solver, _ in DETERMINISTIC])
def test_encoding_follows_the_exact_flow(solver, sde):
    """On N(0, v) the flow to noise is x sqrt(var' / var): the encoded x reaches it with exactly the declared order."""
    variance, errors = (0.05, 0.25, 2.0), []
    for steps in (64, 128, 256):
        plan = torchdiff.plan(sde, solver, times=rising(sde, steps), prediction="v")
        start, end = (gaussian.marginal(plan.sde, plan.grid[i], variance).cov for i in (0, -1))
        errors.append(float(np.abs(gaussian.push(plan, variance).matrix / np.sqrt(end / start) - 1.0).max()))
    p = [math.log2(a / b) for a, b in pairwise(errors)]
    # the Richardson slope: within 0.0098 of the order in all fifteen cases
    assert abs(2.0 * p[1] - p[0] - get_solver(solver).weak_order) < 0.02


@pytest.mark.parametrize("sde", SPANS)
@pytest.mark.parametrize(("solver", "order"), DETERMINISTIC)
def test_encode_then_decode_returns(solver, order, sde):
    """Data encoded and sampled back, by a nonlinear network, returns with the order; one more for Heun's methods.

    A one-step method of even order there and back cancels its leading error: h^(p+1) and (-h)^(p+1), p + 1 odd.
    """
    process, errors = get_sde(sde), []

    def net(x, t):  # the exact eps of the mixture of N(-1, 0.25) and N(1, 0.25)
        level = process.level(float(t[0]))
        var = 0.25 * level.alpha**2 + level.sigma**2
        return level.sigma / var * (x - level.alpha * torch.tanh(x * (level.alpha / var)))

    def run(x, times):
        return torchdiff.sample(net, sde, solver, times=times, x=x, prediction="eps", seed=0, final="t_min").x

    x = torch.linspace(-1.5, 1.5, 12, dtype=torch.float64).reshape(2, 6)
    for steps in (32, 128):
        times = rising(sde, steps)
        errors.append(float((run(run(x, times), times[::-1]) - x).abs().max()))
    # 0.25: raw slopes, not Richardson's; the lowest are 0.20 below (dpmpp_2m on flow) and 0.08 (Euler on VE)
    assert math.log2(errors[0] / errors[1]) / 2.0 >= order - 0.25
    assert errors[1] < 0.15
