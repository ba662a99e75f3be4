"""Solvers that theory says are equal have equal plans."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import torchdiff
from torchdiff.solvers import AffineSolver
from torchdiff.steps import AffineStep


@dataclass(frozen=True)
class ExponentialEuler(AffineSolver):
    """First-order exponential integrator in log-SNR on x0, from the variation-of-constants formula."""

    def step(self, x, span, predict, noise):
        cur, nxt = span.cur, span.nxt
        gain = 1.0 - (nxt.sigma * cur.alpha) / (nxt.alpha * cur.sigma)  # 1 - e^{-h}
        return (nxt.sigma / cur.sigma) * x + (nxt.alpha * gain) * predict(x, cur).x0


@dataclass(frozen=True)
class EulerInSigma(AffineSolver):
    """Plain Euler on d(x / alpha) / d(sigma / alpha) = eps."""

    def step(self, x, span, predict, noise):
        cur, nxt = span.cur, span.nxt
        ds = nxt.sigma / nxt.alpha - cur.sigma / cur.alpha
        return nxt.alpha * (x / cur.alpha + ds * predict(x, cur).eps)


def distance(left, right) -> float:
    """The largest difference of any two weights; the plans must have the same shape."""
    assert len(left.items) == len(right.items)
    worst = 0.0
    for a, b in zip(left.items, right.items, strict=True):
        assert isinstance(a, AffineStep)
        assert isinstance(b, AffineStep)
        assert (a.feed, a.reads, a.draws, a.keep, a.at) == (b.feed, b.reads, b.draws, b.keep, b.at)
        for rows, others in ((a.weights, b.weights), (a.noise, b.noise)):
            pairs = zip(sum(rows, ()), sum(others, ()), strict=True)
            worst = max([worst, *(abs(v - w) for v, w in pairs)])
    return worst


# 1e-12: weights up to 24 in the first step on VP, each from a handful of float64 operations
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("sde", ["vp", "ve", "flow:t_min=0.01,t_max=0.99"])
@pytest.mark.parametrize(
    ("left", "right"), [("ddim", ExponentialEuler()), ("ddim", EulerInSigma()), ("ddim:eta=1", "ddpm")]
)
def test_equal_solvers_have_equal_plans(left, right, sde, prediction):
    """DDIM = first-order exponential Euler = Euler in sigma / alpha; DDIM with eta = 1 = DDPM."""
    plans = [torchdiff.plan(sde, solver, steps=20, prediction=prediction, final="t_min") for solver in (left, right)]
    assert distance(*plans) < 1e-12 * max(1.0, plans[0].growth)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "score"])
@pytest.mark.parametrize(("sde", "variance"), [("ve", "fixed_small"), ("vp", "fixed_large")])
def test_ancestral_sampling_is_ddpm(sde, variance, prediction):
    """By Tweedie's formula the posterior mean is (x + c^2 score) / m; the noise is the posterior's on VE, c on VP."""
    names = ("ancestral", f"ddpm:variance={variance}")
    plans = [torchdiff.plan(sde, solver, steps=20, prediction=prediction, final="t_min") for solver in names]
    # 1e-12 as above; a score weight is sigma = 50 times larger still
    assert distance(*plans) < 1e-12 * max(1.0, plans[0].growth, *(abs(w) for i in plans[0].items for w in i.weights[0]))


def test_euler_on_the_flow_is_ddim():
    """On the straight path the velocity is constant between levels: Euler in t and DDIM are one method."""
    plans = [torchdiff.plan("flow", name, steps=8, prediction="flow") for name in ("ode:method=euler", "ddim")]
    assert distance(*plans) < 1e-14


def test_final_interval_is_ddim_to_sigma_zero():
    """The denoising interval is what DDIM does when the grid itself goes on to sigma = 0."""
    to_zero = torchdiff.plan("flow", "ddim", times=[0.9, 0.5, 0.1, 0.0], prediction="v")
    final = torchdiff.plan("flow", "ddim", times=[0.9, 0.5, 0.1], prediction="v")
    assert final.calls == to_zero.calls == 3
    assert distance(final, to_zero) < 1e-15
