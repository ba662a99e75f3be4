"""Solvers that theory says are equal have equal plans."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

import torchdiff
from torchdiff.solvers import AffineSolver
from torchdiff.steps import AffineStep
from torchdiff.testing.order import Case, slopes


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


def unrolled(plan) -> tuple[list[float], np.ndarray]:
    """(log-SNR of each network call, every input of a call and the result as sums of x, outputs and draws).

    One form for all plans of one method, however each keeps what it remembers.
    """
    assert plan.blocks == 1
    calls = [item for item in plan.items if item.at is not None]
    columns = np.eye(1 + len(calls) + len(plan.draws))
    outputs = iter(columns[1 : 1 + len(calls)])
    draws = dict(zip(plan.draws, columns[1 + len(calls) :], strict=True))
    state, rows = [columns[0]], []
    for item in plan.items:
        live = list(state)
        if item.at is not None:
            assert item.mix == (1.0,)
            rows += [state[slot] for slot in item.feed]
            live.append(next(outputs))
        read = (
            np.stack([live[slot] for slot in item.reads] + [draws[draw] for draw in item.draws]) if item.weights else 0
        )
        made = [np.array([*weights, *noise]) @ read for weights, noise in zip(item.weights, item.noise, strict=True)]
        state = [*made, *(live[slot] for slot in item.keep)]
    return [item.at.half_log_snr for item in calls], np.stack([*rows, *(state[slot] for slot in plan.result)])


SAME = [
    *[("ddim", one) for one in (
        "euler", "dpm_solver_1", "unip:order=1", "lms:order=1", "deis:order=1", "deis:order=1,basis=log_snr",
        "ipndm:order=1", "adams:order=1,coordinate=sigma", "rk:tableau=euler,coordinate=sigma", "dpmpp_1_sde:eta=0",
        "euler_ancestral:eta=0", "sa_solver:predictor=1,corrector=0,tau=0",
    )],
    *[("ddim:eta=1", one) for one in (
        "ddpm", "dpmpp_1_sde", "euler_ancestral", "sa_solver:predictor=1,corrector=0,tau=1",
    )],
    ("ddim:eta=0.5", "euler_ancestral:eta=0.5"),
    ("dpmpp_2m", "unip:order=2"), ("dpmpp_2m", "dpmpp_2m_sde:eta=0"),
    ("dpmpp_2m:start=single", "unip:order=2,start=single"),
    ("dpmpp_2m:variant=taylor", "sa_solver:predictor=2,corrector=0,tau=0"),
    ("dpmpp_2m_sde:variant=taylor", "sa_solver:predictor=2,corrector=0"),
    ("dpmpp_2m_sde:variant=taylor,start=single", "sa_solver:predictor=2,corrector=0,start=single"),
    ("dpmpp_3m", "dpmpp_3m_sde:eta=0"),
    ("dpmpp_3m:start=single,lower_final=true", "dpmpp_3m_sde:eta=0,start=single,lower_final=true"),
    ("dpmpp_3m", "sa_solver:predictor=3,corrector=0,tau=0"), ("dpmpp_3m_sde", "sa_solver:predictor=3,corrector=0"),
    ("dpmpp_3m:compat=k_diffusion", "dpmpp_3m_sde:eta=0,compat=k_diffusion"),
    ("heun", "edm"), ("heun", "rk:tableau=heun,coordinate=sigma"),
    ("ode", "rk:tableau=heun"), ("ode:method=euler", "rk:tableau=euler"),
    *[(f"lms:order={order}", f"deis:basis=rho,order={order}") for order in (2, 3, 4)],
    ("lms:order=4,start=single", "deis:basis=rho,order=4,start=single"),
    ("lms", "adams:order=4,coordinate=sigma"),
    ("dpmpp_3s", "seeds_3:eta=0"), ("dpmpp_2s:variant=taylor", "seeds_2:eta=0"),
    ("dpmpp_2s", "dpmpp_2s_ancestral:eta=0"), ("dpmpp_2s", "dpmpp_sde:eta=0"),
    ("dpm2", "dpm2_ancestral:eta=0"), ("dpm2", "dpm_solver_2"),
]  # fmt: skip


@pytest.mark.parametrize("sde", ["vp", "edm"])
@pytest.mark.parametrize(("left", "right"), SAME)
def test_one_method_by_two_names(left, right, sde):
    """Solvers that theory says are one method: the same calls, and the same weights of start, outputs and draws.

    On nine uneven steps.
    """
    process = torchdiff.get_sde(sde)
    top, bottom = (process.level(t).half_log_snr for t in (process.t_max * 0.9, process.t_min))
    # shares of the way that grow by a third each
    times = [process.at(top + (bottom - top) * ((4 / 3) ** i - 1.0) / ((4 / 3) ** 9 - 1.0)).t for i in range(10)]
    (levels, ours), (places, theirs) = (
        unrolled(torchdiff.plan(sde, solver, times=times, prediction="x0", final="t_min")) for solver in (left, right)
    )
    assert len(levels) == len(places)
    assert max(abs(a - b) for a, b in zip(levels, places, strict=True)) < 1e-12
    assert ours.shape == theirs.shape
    # 1e-12: some hundred float64 operations; eps of x0 has weights of 100 at the clean end
    assert np.abs(ours - theirs).max() < 1e-12 * max(1.0, np.abs(ours).max())


@pytest.mark.parametrize("sde", ["vp", "edm"])
def test_unip_3_is_the_right_3m(sde):
    """Each step with three predictions has the same weights; with two UniP takes the midpoint, 3M the line."""
    plans = [
        torchdiff.plan(sde, solver, steps=9, prediction="x0", final="t_min") for solver in ("dpmpp_3m", "unip:order=3")
    ]
    later = [replace(plan, items=plan.items[2:]) for plan in plans]
    assert distance(*later) < 1e-13  # weights of 1, of some dozen operations
    assert distance(*plans) > 1e-3


@pytest.mark.parametrize(("order", "corrected"), [(1, 2), (2, 3)])
def test_unic_raises_the_order_by_one(order, corrected):
    """Measured from the middle of VP, where the start shows."""
    case = Case(torchdiff.get_sde("vp"), 0.5, 0.05)
    for solver, expected in ((f"unip:order={order},start=lower", min(order, 2)), (f"unipc:order={order}", corrected)):
        assert (
            abs(slopes(torchdiff.get_solver(solver), case, 512).covariance - expected) < 0.1
        )  # the spread of slopes at 512 steps


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
