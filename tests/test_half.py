"""Half precision: a row is rounded once, a half network under a float32 state loses nothing by more steps."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from instances import prediction_for

import torchdiff
from torchdiff import get_sde, ops
from torchdiff.counters import PRIOR, draw_number
from torchdiff.errors import NonFiniteError

HALVES = [torch.float16, torch.bfloat16]
# one call and several, with memory and without, with noise and without, on data and on noise predictions
SOLVERS = [
    "ddim", "ddpm", "euler_maruyama", "rk", "dpmpp_2m_sde", "unipc:order=3", "lms", "sa_solver", "seeds_2",
]  # fmt: skip
SHAPE, SEEDS = (8, 64), torch.tensor([1])


def unit(dtype):
    """The largest relative error of rounding: 2^-11 and 2^-8."""
    return 0.5 * torch.finfo(dtype).eps


def network(sde):
    """The exact network for the mixture of N(-1, 1/4) and N(1, 1/4) in each element, rounded to the dtype of x."""
    process = get_sde(sde)

    def net(x, t):
        _, alpha, sigma = process.level(float(t[0]))
        x, spread, dtype = x.double(), 0.25 * alpha**2 + sigma**2, x.dtype
        mean = torch.tanh(x * (alpha / spread))  # of the modes, given x
        away = (x - alpha * mean) * (1.0 / spread)
        eps, x0 = sigma * away, mean + (0.25 * alpha) * away
        return (eps - x0 if prediction_for(sde) == "flow" else eps).to(dtype)

    return net


def run(sde, solver, steps, dtype, net=None, **more):
    net = network(sde) if net is None else net
    options = dict(shape=SHAPE, seed=1, prediction=prediction_for(sde), dtype=dtype)
    return torchdiff.sample(net, sde, solver, steps=steps, **options, **more).x


@functools.cache
def exact(sde, solver, steps):
    return run(sde, solver, steps, torch.float64)


def apart(x, exact):
    return float((x.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt())


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("sde", ["vp", "flow"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_each_row_is_summed_wide_and_rounded_once(solver, sde, dtype):
    """Every row of a run in half precision is within half an ulp of its float64 sum, at 6 and at 40 steps.

    So a step is off by 2^-11 and 2^-8 at most, and it is `sample` that these rows are of: the ends are equal.
    """
    net = network(sde)
    for steps in (6, 40):
        plan = torchdiff.plan(sde, solver, steps=steps, prediction=prediction_for(sde))
        first = ops.normal(SHAPE, SEEDS, 0, torch.tensor([draw_number(PRIOR)]), dtype)
        state = [(first.double() * plan.sde.prior(plan.grid[0].t)[0][0]).to(dtype)]
        for item in plan.items:
            table = [[*row, *fresh] for row, fresh in zip(item.weights, item.noise, strict=True)]
            weights, draws = torch.tensor(table, dtype=torch.float64), torch.tensor(item.draws, dtype=torch.int64)
            live = state
            if item.at is not None:
                live = [*state, net(state[item.feed[0]], torch.full(SHAPE[:1], item.at.t))]
            read = [live[slot] for slot in item.reads]
            rows = ops.affine(read, weights, SEEDS, 0, draws)
            wide = [x.double() for x in read]
            sums = ops.affine(wide, weights, SEEDS, 0, draws)
            size = ops.affine([x.abs() for x in wide], weights.abs()[:, : len(read)], SEEDS, 0, draws[:0])
            for row, total, terms in zip(rows, sums, size, strict=True):
                # 2^-22: float32 sums of a few terms, and normals, of 6 at most, made in float32
                allowed = unit(dtype) * total.abs() + 2.0**-22 * (terms + 6.0 * weights.abs().max()) + 2.0**-25
                assert ((row.double() - total).abs() <= allowed).all()
            state = [*rows, *(live[slot] for slot in item.keep)]
        assert torch.equal(state[plan.result[0]], run(sde, solver, steps, dtype))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("sde", ["vp", "ve"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_half_network_under_a_float32_state_loses_nothing_by_more_steps(solver, sde, dtype):
    """From 32 steps on samples are within 2^-11 and 2^-8 of the float64 ones, at 256 no further than at 32."""
    net, errors = network(sde), []
    for steps in (32, 256):
        half = run(sde, solver, steps, torch.float32, lambda x, t: net(x.to(dtype), t))
        errors.append(apart(half, exact(sde, solver, steps)) / unit(dtype))
    assert max(errors) <= 1.0, errors  # 0.56 is the most
    # 0.54 at 256 and 512 steps is what bfloat16 on VP comes to, where the rounding of x pulls each step the same way
    assert errors[1] <= max(errors[0], 0.6), errors


@pytest.mark.parametrize(("solver", "most"), [("ddpm", 0.5), ("sa_solver", 0.5), ("ddim", 2.0), ("rk", 2.0)])
@pytest.mark.parametrize("dtype", HALVES)
def test_a_half_state_loses_by_more_steps(dtype, solver, most):
    """With noise sqrt(N) roundings add up, without it small steps are lost as a whole: 512 steps cost ten times more.

    Which is why the state is float32 by default.
    """
    lost = apart(run("vp", solver, 512, dtype), exact("vp", solver, 512)) / unit(dtype)
    assert 5.0 <= lost <= most * math.sqrt(512.0)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("solver", ["ddim", "euler_maruyama", "reverse_diffusion", "heun", "edm:churn=20"])
@pytest.mark.parametrize(
    ("sde", "ends"),
    [
        ("ve:sigma_max=1348", {}),  # sigma^2 = 1.8e6 is no float16
        ("vp", {"t_min": 1e-5}),  # sigma = 1e-3, whose square float16 holds with one digit
        ("ve:sigma_min=0.0001", {"t_min": 0.0}),  # sigma^2 = 1e-8 is 0 in float16
    ],
)
def test_squares_that_half_precision_has_not_stay_on_the_host(sde, ends, solver, dtype):
    """Where sigma^2 overflows or vanishes in half precision, runs are finite and as near to float64 as elsewhere."""
    half, wanted = (run(sde, solver, 40, kind, **ends) for kind in (dtype, torch.float64))
    assert apart(half, wanted) <= 4.0 * unit(dtype)


@pytest.mark.parametrize(
    ("sde", "net", "where"),
    [
        ("ve:sigma_max=30000", lambda x, t: x / 30000.0, "t = 1"),  # 4.5 sigma is beyond 65504: the start itself
        ("flow:t_min=0.000001", lambda x, t: torch.full_like(x, 1.0) / t[:, None].to(x.dtype), "t = 1e-06"),
    ],
)
def test_what_half_precision_cannot_hold_is_named(sde, net, where):
    """A state or an output beyond 65504 in float16 is a NonFiniteError that says where; bfloat16 holds both."""
    with pytest.raises(NonFiniteError, match=where):
        torchdiff.sample(net, sde, "ddim", steps=20, shape=(64, 512), seed=0, prediction="v", dtype=torch.float16)
    ends = torchdiff.sample(net, sde, "ddim", steps=20, shape=(64, 512), seed=0, prediction="v", dtype=torch.bfloat16)
    assert ends.finite.all()
