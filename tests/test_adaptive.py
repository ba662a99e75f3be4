"""rk45: each sample is what SciPy makes of it alone, whatever the batch around it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from instances import field
from scipy.integrate import RK45, solve_ivp

import torchdiff
from torchdiff import adaptive, clocks, gaussian, get_sde
from torchdiff.errors import IncompatibleError, NonFiniteError, OptionError, StepSizeError
from torchdiff.sde import VP


def test_the_tableau_is_scipy_s():
    """Nodes, stages, weights of the step and of its error are those of scipy.integrate.RK45, to the last bit."""
    stages = np.zeros((7, 6))
    for i, row in enumerate(adaptive.STAGES):
        stages[i, : len(row)] = row
    np.testing.assert_array_equal(stages[:6, :5], RK45.A)
    np.testing.assert_array_equal(stages[6], RK45.B)
    np.testing.assert_array_equal(adaptive.NODES, [*RK45.C, 1.0])
    np.testing.assert_array_equal(adaptive.ERROR, RK45.E)


def call(*inputs):
    """The network on one sample of plain arrays."""
    *blocks, t = inputs
    rows = [torch.from_numpy(b).unsqueeze(0) for b in blocks]
    return field(*rows, torch.tensor([t], dtype=torch.float64))[0].numpy()


def vp(t, y):
    """-beta x / 2 + beta / (2 sigma) eps."""
    beta, sigma = 0.1 + 19.9 * t, math.sqrt(-math.expm1(-(9.95 * t * t + 0.1 * t)))
    return -0.5 * beta * y + 0.5 * beta / sigma * call(y, t)


def scaled_v(t, y):
    """The same of eps = alpha v + sigma x, v a network of x / (1 + sigma) that is told sigma."""
    bar = math.exp(-(9.95 * t * t + 0.1 * t))
    beta, alpha, sigma = 0.1 + 19.9 * t, math.sqrt(bar), math.sqrt(1.0 - bar)
    eps = alpha * call(y / (1.0 + sigma), sigma) + sigma * y
    return -0.5 * beta * y + 0.5 * beta / sigma * eps


def ve(t, y):
    """sigma' eps."""
    return 0.01 * 5000.0**t * math.log(5000.0) * call(y, t)


def flow(t, y):
    """What a flow network says."""
    return call(y, t)


def cld(t, y):
    """beta v / M and -beta (x + Gamma v / M + Gamma score), M = 0.25, Gamma = 1, beta = 0.1 + 6.9 t."""
    x, v = np.split(y, 2)
    beta = 0.1 + 6.9 * t
    return np.concatenate([4.0 * beta * v, -beta * (x + 4.0 * v + call(x, v, t))])


SCALED = torchdiff.wrap(field, "v", lambda level: level.sigma, lambda level: 1.0 / (1.0 + level.sigma))
WAYS = [
    ("vp", torchdiff.wrap(field, "eps"), vp, (1.0, 1e-3), 1e-5),
    ("vp", torchdiff.wrap(field, "eps"), vp, (1e-3, 1.0), 1e-8),
    ("vp", SCALED, scaled_v, (1.0, 0.01), 1e-6),
    ("ve", torchdiff.wrap(field, "eps"), ve, (1.0, 1e-5), 1e-6),
    ("flow", torchdiff.wrap(field, "flow"), flow, (1.0, 0.0), 1e-10),
    ("cld:beta=0.1,slope=6.9", torchdiff.wrap(field, "score"), cld, (1.0, 1e-3), 1e-6),
]


@pytest.mark.parametrize(("sde", "net", "velocity", "times", "rtol"), WAYS)
def test_a_sample_is_scipy_s_own(sde, net, velocity, times, rtol):
    """Every sample of a batch is SciPy's solve_ivp of it alone, with as many evaluations; alone it has the same bits.

    1e-10: two float64 sums of some 60 steps in another order. The batch is called as often as its slowest sample.
    """
    atol = 0.1 * rtol
    options = dict(times=times, final="t_min", seed=0)
    solver = f"rk45:rtol={rtol},atol={atol}"
    torch.manual_seed(0)
    blocks = get_sde(sde).blocks
    # of very different sizes, so that each sample goes its own way
    x = [torch.randn(4, 3, dtype=torch.float64) * torch.tensor([[0.01], [1.0], [3.0], [30.0]]) for _ in range(blocks)]
    out, evaluations = torchdiff.sample(net, sde, solver, x=x, **options), []
    for i in range(4):
        alone = torchdiff.sample(net, sde, solver, x=[b[i : i + 1] for b in x], **options)
        assert all(torch.equal(a[0], b[i]) for a, b in zip(alone.state, out.state, strict=True))
        start = np.concatenate([b[i].numpy() for b in x])
        theirs = solve_ivp(velocity, times, start, method="RK45", rtol=rtol, atol=atol)
        mine = np.concatenate([b[i].numpy() for b in out.state])
        assert np.abs(mine - theirs.y[:, -1]).max() <= 1e-10 * max(1.0, np.abs(theirs.y).max())
        assert alone.calls == theirs.nfev
        evaluations.append(alone.calls)
    assert out.calls == max(evaluations)
    assert len(set(evaluations)) > 1


def exact(sde, variance, prediction):
    """The exact network of N(0, variance) data, each sample at its own time."""
    process = get_sde(sde)

    def net(x, t):
        levels = [process.level(float(time)) for time in t]
        alpha, sigma = (torch.tensor([level[k] for level in levels], dtype=x.dtype).view(-1, 1) for k in (1, 2))
        x0, eps = (part / (alpha**2 * variance + sigma**2) * x for part in (alpha * variance, sigma))
        return {"eps": eps, "flow": eps - x0, "v": alpha * eps - sigma * x0}[prediction]

    return net


def gain(sde, variance, start, end):
    """The exact flow of N(0, variance) data: x is multiplied by the ratio of the standard deviations."""
    process = get_sde(sde)
    a, b = (float(gaussian.marginal(process, process.level(t), variance).cov[0, 0, 0]) for t in (start, end))
    return math.sqrt(b / a)


START = torch.tensor([[0.1, -1.0], [2.0, 0.5], [-0.7, 3.0]], dtype=torch.float64)
SPANS = {"vp": (1.0, 1e-3), "ve": (1.0, 1e-5), "flow": (0.98, 0.02)}


@pytest.mark.parametrize("sde", SPANS)
@pytest.mark.parametrize("steps", [1, 5])
def test_error_follows_the_tolerance(sde, steps):
    """On Gaussian data the relative error of x is at most 3 rtol, from rtol = 1e-3 to 1e-11, with atol = 0.01 rtol.

    3: the largest measured is 1.54. And it falls with rtol: by 1e5 at least over eight powers of ten.
    """
    process, found = get_sde(sde), []
    x = START * process.level(SPANS[sde][0]).sigma
    for rtol in (1e-3, 1e-5, 1e-7, 1e-9, 1e-11):
        out = torchdiff.sample(
            exact(sde, 0.3, "eps"), sde, f"rk45:rtol={rtol},atol={0.01 * rtol}", steps=steps, x=x, prediction="eps",
            t_max=SPANS[sde][0], t_min=SPANS[sde][1], final="t_min", seed=0,
        )  # fmt: skip
        found.append(float((out.x / (gain(sde, 0.3, *SPANS[sde]) * x) - 1.0).abs().max()))
        assert found[-1] <= 3.0 * rtol
    assert found[-1] <= 1e-5 * found[0]


@pytest.mark.parametrize("prediction", ["flow", "v"])
@pytest.mark.parametrize("steps", [1, 2, 50])
def test_ends_where_alpha_or_sigma_is_zero(prediction, steps):
    """From flow's t = 1, where alpha = 0, to t = 0, where sigma = 0, N(0, 1) becomes N(0, v), and back again."""
    net, solver = exact("flow", 0.3, prediction), "rk45:rtol=1e-7,atol=1e-9"
    options = dict(prediction=prediction, seed=0)
    out = torchdiff.sample(net, "flow", solver, steps=steps, x=START, **options)
    assert (out.plan.grid[0].alpha, out.plan.grid[-1].sigma) == (0.0, 0.0)
    # 1e-6: ten times the tolerance
    torch.testing.assert_close(out.x, START * math.sqrt(0.3), rtol=1e-6, atol=0.0)
    times = [i / steps for i in range(1, steps + 1)]
    back = torchdiff.sample(net, "flow", solver, times=[1e-9, *times], x=out.x, **options)
    torch.testing.assert_close(back.x, START, rtol=1e-6, atol=0.0)


def test_encode_then_decode_returns():
    """Data encoded and sampled back by a nonlinear network return to within 20 times the tolerance."""

    def net(x, t):  # the exact eps of the mixture of N(-1, 0.25) and N(1, 0.25)
        bar = torch.exp(-(9.95 * t * t + 0.1 * t)).unsqueeze(1)
        alpha, var = bar.sqrt(), 1.0 - 0.75 * bar
        return (1.0 - bar).sqrt() / var * (x - alpha * torch.tanh(x * (alpha / var)))

    options = dict(prediction="eps", seed=0, final="t_min")
    for rtol in (1e-5, 1e-9):
        run = f"rk45:rtol={rtol},atol={rtol}"
        code = torchdiff.sample(net, "vp", run, times=[1e-2, 1.0], x=START, **options)
        back = torchdiff.sample(net, "vp", run, times=[1.0, 1e-2], x=code.x, **options)
        assert float((back.x - START).abs().max()) <= 20.0 * rtol  # measured: 5.8 and 1.5


class Watched(VP):
    """VP that writes down the times it is asked about."""

    asked: list[float]

    def level(self, t):
        self.asked.append(t)
        return super().level(t)

    def rates(self, t):
        self.asked.append(t)
        return super().rates(t)


@settings(max_examples=60, deadline=None)
@given(
    ends=st.tuples(st.floats(1e-3, 1.0), st.floats(1e-3, 1.0)).filter(lambda ends: abs(ends[0] - ends[1]) > 1e-6),
    slope=st.sampled_from([4.0, 0.01]),
)
def test_no_time_is_outside_the_interval(ends, slope):
    """Level, velocity and network are asked about times between the ends only, the last of them at the end itself."""
    sde = Watched()
    object.__setattr__(sde, "asked", [])
    told = []

    def net(x, t):
        told.append(t)
        return torch.tanh(slope * x)

    options = dict(times=ends, prediction="eps", x=START, final="t_min", seed=0)
    torchdiff.sample(net, sde, "rk45:rtol=1e-3,atol=1e-3", **options)
    times = [*sde.asked, *torch.cat(told).tolist()]
    assert min(ends) <= min(times) <= max(times) <= max(ends)
    assert told[-1].max() == told[-1].min() == ends[1]


def test_a_trial_step_over_the_whole_way_ends_within_it():
    """start + (end - start) may lie beyond end by the last bit; the time of the trial slope never does."""
    for start, end in np.exp(-7.0 * np.random.default_rng(0).random((1000, 2))).tolist():
        trial = clocks.Clock(0, start, end)
        assert trial.probe(1.0, 1e-5) == end - start
        assert min(start, end) <= trial.at(1.0) <= max(start, end)


def bad_at(call, row, value):
    """A network whose row says `value` in the how manieth call and after it."""
    count = iter(range(10_000))

    def net(x, t):
        out = field(x, t).clone()
        if next(count) >= call:
            out[row] = value
        return out

    return net


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("call", [0, 1, 9])
def test_values_that_are_not_finite_end_the_sample(call, value):
    """nan or infinity raises NonFiniteError with the sample's own time; "mark" ends that sample alone, in good time."""
    options = dict(steps=1, x=START, prediction="eps", final="t_min", seed=0)
    told, fails = [], bad_at(call, 1, value)

    def net(x, t):
        told.append(float(t[1]))
        return fails(x, t)

    with pytest.raises(NonFiniteError, match=r"network call .*sample 1 first, 1 of 3") as caught:
        torchdiff.sample(net, "vp", "rk45", **options)
    assert f"step 0, at t = {told[-1]:g} (network call {call + 1})" in str(caught.value)
    out = torchdiff.sample(bad_at(call, 1, value), "vp", "rk45", on_nonfinite="mark", **options)
    fine = torchdiff.sample(field, "vp", "rk45", **options)
    assert out.finite.tolist() == [True, False, True]
    assert out.calls <= fine.calls
    assert torch.equal(out.x[[0, 2]], fine.x[[0, 2]])
    assert bool(out.x[1].isnan().all())


def test_a_singular_flow_is_named():
    """dx/dt = -x^2 from t = 1 is x / (1 - x (1 - t)): at x = 2 it ends at t = 0.5, and that sample is named there."""
    x = torch.tensor([[0.5], [2.0]], dtype=torch.float64)
    message = r"sample 1 needs steps below .* at t = 0\.(49999|50000)\d* .*rtol = 1e-05 .*t_max"
    with pytest.raises(StepSizeError, match=message):
        torchdiff.sample(lambda x, t: -(x**2), "flow", "rk45", steps=1, x=x, prediction="flow")
    out = torchdiff.sample(lambda x, t: -(x**2), "flow", "rk45", steps=1, x=x[:1], prediction="flow")
    assert abs(float(out.x[0, 0]) - 1.0) <= 1e-4  # 0.5 / (1 - 0.5), to ten times the tolerance


def test_each_sample_keeps_its_condition():
    """A condition with a row a sample stays with it, also after other samples have arrived."""

    def net(x, t, rate):
        return rate * torch.tanh(x) * torch.cos(3.0 * t).unsqueeze(1)

    rate = torch.tensor([[0.0], [1.0], [20.0]], dtype=torch.float64)
    options = dict(steps=1, prediction="flow", seed=0)
    out = torchdiff.sample(net, "flow", "rk45", x=START, cond={"rate": rate}, **options)
    for i in range(3):
        row = slice(i, i + 1)
        alone = torchdiff.sample(net, "flow", "rk45", x=START[row], cond={"rate": rate[row]}, **options)
        assert torch.equal(alone.x, out.x[row])
        assert alone.calls <= out.calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_low_precision_states_stay_near_float64(dtype):
    """The state is float64 between calls: twelve steps in a dtype end within 2 of its eps of those in float64.

    Half an eps is the rounding of the result, the rest what the network makes of rounded inputs (1.1 measured).
    """
    options = dict(steps=1, prediction="eps", final="t_min", seed=0)
    high = torchdiff.sample(field, "vp", "rk45:rtol=1e-3,atol=1e-3", x=START.to(dtype).double(), **options)
    low = torchdiff.sample(field, "vp", "rk45:rtol=1e-3,atol=1e-3", x=START.to(dtype), **options)
    assert low.x.dtype == dtype
    assert float((low.x.double() / high.x - 1.0).abs().max()) <= 2.0 * torch.finfo(dtype).eps


def test_gradient_is_that_of_the_flow():
    """The derivative of the samples by their start is the exact flow's, to ten times the tolerance."""
    x = START.clone().requires_grad_()
    options = dict(times=[1.0, 0.01], prediction="eps", final="t_min", seed=0, grad=True)
    out = torchdiff.sample(exact("vp", 0.3, "eps"), "vp", "rk45:rtol=1e-7,atol=1e-9", x=x, **options)
    (slope,) = torch.autograd.grad(out.x.sum(), x)
    torch.testing.assert_close(slope, torch.full_like(x, gain("vp", 0.3, 1.0, 0.01)), rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (1,)])
def test_odd_shapes(shape):
    """No samples, samples without elements, and samples that are one number."""
    out = torchdiff.sample(lambda x, t: 0.5 * x, "flow", "rk45", steps=2, shape=shape, prediction="flow", seed=0)
    assert out.x.shape == shape
    assert bool(out.x.isfinite().all())


def test_calls_cannot_be_promised():
    """A number of network calls is refused by name; the plan says that it does not know it, the samples what it was."""
    chain = "predictor_corrector:predictor=rk45,corrector=ald"
    for solver in ("rk45", chain):
        with pytest.raises(OptionError, match=r"RK45\(.*calls = 20 cannot be promised; give steps or times"):
            torchdiff.plan("vp", solver, calls=20)
    plan = torchdiff.plan("vp", "rk45", steps=2)
    assert plan.calls is None
    assert "network calls by error control" in str(plan)
    assert "calls by error control" in repr(plan)
    count = []
    net = torchdiff.wrap(lambda x, t: (count.append(1), field(x, t))[1], "eps")
    out = torchdiff.sample(net, "vp", chain, steps=2, x=START, seed=0)
    assert out.plan.calls is None
    assert out.calls == len(count)


def never(x, t):
    pytest.fail("the network was called")


class OwnWay(torchdiff.Denoiser):
    """A denoiser with a call of its own."""

    def __call__(self, *inputs):
        return super().__call__(*inputs)


@pytest.mark.parametrize(
    ("net", "sde", "times", "message"),
    [
        (torchdiff.wrap(never, "eps"), "vp", (1.0, 0.0), r"flow of VP\(.*\) is infinite at t = 0; .*t_min"),
        (torchdiff.wrap(never, "eps"), "flow", (1.0, 0.5), r"at t = 1 \(alpha = 0"),
        (torchdiff.wrap(never, "x0"), "flow", (0.9, 0.0), r"at t = 0 "),
        (torchdiff.wrap(never, "flow", time="sigma"), "flow", (1.0, 0.5), "time is inf at t = 1"),
        (OwnWay(never, "flow"), "flow", (1.0, 0.5), r"OwnWay .* ask\(blocks, level, times\)"),
    ],
)
def test_what_cannot_be_solved_is_named_before_any_call(net, sde, times, message):
    """A flow that is infinite, or not said by the network, at an end of the interval, and denoisers with one level."""
    with pytest.raises(IncompatibleError, match=message):
        torchdiff.sample(net, sde, "rk45", times=times, shape=(2, 3), final="t_min", seed=0)


@pytest.mark.parametrize("option", ["rtol=0", "rtol=1e-14", "rtol=1", "atol=0", "atol=-1"])
def test_bad_tolerances_are_named(option):
    """Tolerances that cannot be met are refused with what came."""
    with pytest.raises(OptionError, match=f"rk45: {option.partition('=')[0]} must"):
        torchdiff.get_solver(f"rk45:{option}")
