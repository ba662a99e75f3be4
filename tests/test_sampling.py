"""The loop that samples: who depends on what, and what it refuses."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from instances import MOVERS, TRAVELLERS, field, prediction_for

import torchdiff
from torchdiff.errors import IncompatibleError, NetworkError, NonFiniteError, OptionError, PlanError, TorchdiffError
from torchdiff.solvers import AffineSolver, Solver

# one solver of each kind: deterministic, noisy, multistep, opaque with per-sample norms
SOLVERS = ["ddim", "ddpm", "dpmpp_2m", "predictor_corrector"]


def run(solver: str = "ddpm", sde: str = "vp", batch: int = 5, event: tuple[int, ...] = (7,), **options):
    options = {"steps": 5, "seed": 3, "prediction": prediction_for(sde), "shape": (batch, *event), **options}
    if "x" in options:
        del options["shape"]
    return torchdiff.sample(options.pop("net", field), options.pop("sde", sde), solver, **options)


@pytest.mark.parametrize("solver", SOLVERS)
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 9), max_size=4), start=st.integers(0, 2**40))
def test_sample_does_not_depend_on_its_batch(solver, cuts, start):
    """Sample i of any split of a batch is bit for bit sample i of the whole, given a row-wise network."""
    whole = run(solver, batch=9, first_index=start).x
    edges = [0, *sorted(cuts), 9]
    parts = [run(solver, batch=b - a, first_index=start + a).x for a, b in pairwise(edges)]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_seed_per_sample_is_what_that_seed_alone_gives(solver):
    """With a seed for each sample, sample i is what seed i gives for a batch of one."""
    seeds = [5, 2**63 + 1, -4, 5]
    together = run(solver, batch=4, seed=seeds, first_index=2).x
    alone = [run(solver, batch=1, seed=seed, first_index=2).x for seed in seeds]
    assert torch.equal(together, torch.cat(alone))


# one process for the formulas in log-SNR and ratio alone: threads see rows, whatever their weights
@pytest.mark.parametrize(
    ("solver", "sde"), [p for p in MOVERS if p[1] != "flow" or p[0].partition(":")[0] in TRAVELLERS]
)
def test_threads_change_nothing(solver, sde):
    """One, two and eight threads give the same bits, for an event large enough that torch and the op split it."""
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 8):
            torch.set_num_threads(threads)
            results.append(run(solver, sde, batch=2, event=(2, 30_011), steps=2).x)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_two_samplers_at_once_equal_serial_runs():
    """Two Python threads that sample with the same network, SDE and solver objects get what serial runs get."""
    net, sde = torchdiff.wrap(field, "eps"), torchdiff.get_sde("vp")
    solver = torchdiff.get_solver("predictor_corrector:predictor=dpmpp_2m")
    wanted = {seed: torchdiff.sample(net, sde, solver, steps=20, shape=(4, 50), seed=seed).x for seed in range(6)}
    got: dict[int, torch.Tensor] = {}

    def work(seeds: range) -> None:
        for seed in seeds:
            got[seed] = torchdiff.sample(net, sde, solver, steps=20, shape=(4, 50), seed=seed).x

    threads = [threading.Thread(target=work, args=(range(i, 6, 2),)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(got[seed], wanted[seed]) for seed in wanted)


def test_batch_norm_rule_couples_samples_and_the_default_does_not():
    """The paper's batch-mean norms make a sample depend on its batch: it is an option, and only that option does."""
    coupled = "predictor_corrector:corrector=(langevin:norm=batch)"
    assert not torch.equal(run(coupled, batch=4).x[:2], run(coupled, batch=2).x)
    assert torch.equal(run("predictor_corrector", batch=4).x[:2], run("predictor_corrector", batch=2).x)


def test_langevin_has_its_stationary_variance():
    """With norms |z|, |score| of a large event the SNR corrector is ULA of e = 2 (snr sigma)^2: v / (1 - e / 2v)."""
    times = [0.4 - 1e-9 * i for i in range(102)]
    solver = "predictor_corrector:predictor=ddim,corrector=(langevin:snr=0.4)"
    sde = torchdiff.get_sde("vp")
    level = sde.level(0.4)
    v = level.alpha**2 * 0.25 + level.sigma**2  # data N(0, 0.25): score = -x / v

    def net(x, t):
        return -x / v

    out = run(solver, net=net, prediction="score", times=times, steps=None, batch=2, event=(200_000,), final="t_min").x
    # the fixed point of w = w (1 - e/v)^2 + 2 e with e = 2 snr^2 v^2 / w, by iteration
    w = v
    for _ in range(200):
        e = 2.0 * 0.4**2 * v * v / w
        w = w * (1.0 - e / v) ** 2 + 2.0 * e
    # 0.012: 5 standard errors of a variance over 400 000 normals, sqrt(2 / 4e5) = 0.0022 each
    assert abs(float(out.double().var()) / w - 1.0) < 0.012


def test_fresh_seed_is_reported_and_governed_by_torch():
    """seed=None draws one from torch's generator and reports it; giving it back repeats the samples."""
    torch.manual_seed(0)
    first = run(seed=None)
    second = run(seed=None)
    torch.manual_seed(0)
    assert run(seed=None).seed == first.seed != second.seed
    assert torch.equal(run(seed=first.seed).x, first.x)


def test_given_seed_leaves_the_global_generator_alone():
    """With a seed no random state of torch's is read or moved."""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    run(seed=4)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("event", [(), (1,), (3,), (2, 3, 4), (0,), (2, 1, 1, 1, 1, 1, 1, 3)])
@pytest.mark.parametrize("solver", SOLVERS)
def test_any_event_shape(solver, event):
    """Events of any number of dimensions, of one element or none, and empty batches have a defined result."""
    assert run(solver, event=event).x.shape == (5, *event)
    assert run(solver, batch=0, event=event).x.shape == (0, *event)


def test_encode_then_sample_returns():
    """Data encoded by a deterministic solver and sampled back along the same times returns, better with more steps."""
    x = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64).reshape(2, 6)
    errors = []
    for steps in (50, 100):
        times = [0.02 + 0.98 * i / steps for i in range(steps + 1)]
        noise = run("dpmpp_2m", times=times, steps=None, x=x).x
        back = run("dpmpp_2m", times=times[::-1], steps=None, x=noise, final="t_min").x
        errors.append(float((back - x).abs().max()))
    assert errors[1] < 0.4 * errors[0] < 0.1  # second order: a quarter; 0.4 leaves room for the third


def test_block_sde_gives_position_and_state():
    """A network for CLD is called net(x, v, t); x is the position, state both blocks."""
    seen = []

    def net(x, v, t):
        seen.append((x.shape, v.shape, t.shape))
        return field(x, v, t)

    out = run("sscs", "cld", net=net)
    assert torch.equal(out.x, out.state[0])
    assert len(out.state) == 2
    assert set(seen) == {((5, 7), (5, 7), (5,))}


def test_conditions_reach_the_network():
    """cond travels to every call as keyword arguments, and a wrap's prediction wins over a missing one."""
    labels = []

    def net(x, t, label):
        labels.append(label)
        return field(x, t)

    out = run(net=torchdiff.wrap(net, "eps"), prediction=None, cond={"label": 4})
    assert labels == [4] * out.plan.calls


def test_callback_and_trajectory_see_every_level():
    """The callback gets (interval, level reached, x) for every interval; the trajectory starts with the prior."""
    seen = []
    out = run("heun", callback=lambda i, level, x: seen.append((i, level.t, x)), trajectory=True)
    assert [s[:2] for s in seen] == [(i, level.t) for i, level in enumerate(out.plan.grid[1:])]
    assert all(torch.equal(frame, x) for frame, (_, _, x) in zip(out.trajectory[1:], seen, strict=True))
    assert torch.equal(out.trajectory[-1], out.x)


@pytest.mark.parametrize(("solver", "sde"), [("ddpm", "vp"), ("dpmpp_2m", "ve"), ("heun", "flow"), ("sscs", "cld")])
def test_gradient_through_a_whole_run(solver, sde):
    """With grad=True the derivative of the samples by the start, and by a parameter, equals finite differences."""
    blocks = torchdiff.get_sde(sde).blocks
    x = [torch.linspace(-1.0, 1.0 + b, 6, dtype=torch.float64).reshape(2, 3).requires_grad_() for b in range(blocks)]
    gain = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def samples(gain, *x):
        return run(solver, sde, net=lambda *inputs: gain * field(*inputs), x=x, grad=True, steps=3).x

    assert torch.autograd.gradcheck(samples, (gain, *x))
    assert run(solver, sde, x=x).x.grad_fn is None


def nan_at(call: int, row: int):
    count = iter(range(100))

    def net(x, t):
        out = field(x, t)
        if next(count) == call:
            out = out.clone()
            out[row, 0] = float("nan")
        return out

    return net


def test_nan_from_the_network_is_named():
    """A value that is not finite raises NonFiniteError with step, t and sample; "mark" marks that sample alone."""
    with pytest.raises(NonFiniteError, match=r"in step 2, at t = 0\.\d+ \(network call 3\): sample 1 first, 1 of 5"):
        run(net=nan_at(2, 1))
    out = run(net=nan_at(2, 1), on_nonfinite="mark")
    assert out.finite.tolist() == [True, False, True, True, True]
    assert torch.equal(out.x[0], run().x[0])
    assert run(net=nan_at(2, 1), on_nonfinite="ignore").finite.tolist() == [True, False, True, True, True]


def mixture_eps(x, t):
    """The exact eps network for the mixture of N(-1, 0.04) and N(1, 0.04) on VP, in the precision of x."""
    level = torchdiff.get_sde("vp").level(float(t[0]))
    var = level.alpha**2 * 0.04 + level.sigma**2
    return level.sigma / var * (x - level.alpha * torch.tanh(x * (level.alpha / var)))


def test_state_stays_at_the_float32_floor():
    """A thousand float32 DDIM steps are as near to float64 as steps in float64 whose result is rounded once to float32.

    The control: sums in plain float32, which are a third further off.
    """
    options = dict(net=mixture_eps, steps=1000, grid="uniform", batch=64, event=(64,), final="t_min")
    start = run("ddim", **{**options, "steps": 1}, trajectory=True).trajectory[0]
    found = run("ddim", x=start, **options)
    high = run("ddim", x=start.double(), **options).x

    def by_hand(weights_in, sums_in):
        x = start
        for step in found.plan.items:
            live = [x, mixture_eps(x, torch.tensor([step.at.t]))]
            w = torch.tensor(step.weights[0], dtype=weights_in)
            x = sum(w[c] * live[slot].to(sums_in) for c, slot in enumerate(step.reads)).float()
        return x

    def error(x):
        return float((x - high).square().mean().sqrt())

    floor, plain = error(by_hand(torch.float64, torch.float64)), error(by_hand(torch.float32, torch.float32))
    # 4096 values: the rms of independent errors is known to 1.1 %, its ratio to another to 1.6 %; 5 % is three of those
    assert error(found.x) <= 1.05 * floor
    assert plain >= 1.2 * floor


def test_samples_are_memory_of_their_own():
    """What comes back is neither the network's buffer nor the caller's x, so that nobody overwrites it later."""
    buffer = torch.empty(5, 7)

    def net(x, t):
        return buffer.copy_(0.5 * x)

    first = run("ddim", net=net, prediction="x0").x
    kept = first.clone()
    run("ddim", net=net, prediction="x0", seed=9)
    assert torch.equal(first, kept)
    x = torch.ones(5, 7)
    out = run("ddim", "flow", net=lambda x, t: x, prediction="x0", x=x, times=[0.5, 0.0], steps=None)
    out.x.zero_()
    assert bool((x == 1.0).all())


def test_a_reused_output_buffer_is_named_or_copied():
    """A network that overwrites an output which the solver still reads is refused, by the flag that mends it."""
    buffer = torch.empty(5, 7)

    def net(x, t):
        return buffer.copy_(field(x, t))

    with pytest.raises(NetworkError, match="copy=True"):
        run("heun", net=net)
    assert torch.equal(run("heun", net=torchdiff.wrap(net, "eps", copy=True)).x, run("heun").x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("answer", [torch.bfloat16, torch.float64])
def test_samples_have_the_dtype_of_the_state(dtype, answer):
    """Whatever dtype the network answers in, also where its answer is the sample itself."""
    for solver in SOLVERS:
        out = run(solver, net=lambda x, t: field(x, t).to(answer), prediction="x0", dtype=dtype)
        assert out.x.dtype == dtype


def test_an_opaque_solver_keeps_its_word():
    """A solver on tensors that returns another shape, or calls the network more often than it says, is named."""

    class Wrong(Solver):
        def step(self, x, span, predict, noise):
            predict(x, span.cur)
            return x[:1] if self.cut else predict(x, span.cur).x0

        def __init__(self, cut):
            self.cut = cut

    for cut, message in ((True, r"returned \(1, 7\)"), (False, "2 times in step 0, but declares calls = 1")):
        with pytest.raises(PlanError, match=message):
            run(Wrong(cut))


def test_an_interval_that_changes_nothing_is_shown_too():
    """Callback and trajectory see every level, also where a step returns x as it is and calls no network."""

    class Lazy(AffineSolver):
        def step(self, x, span, predict, noise):
            return predict(x, span.cur).x0 if span.index == 2 else x

    seen = []
    out = run(Lazy(), callback=lambda i, level, x: seen.append(i), trajectory=True, final="t_min")
    assert seen == [0, 1, 2, 3, 4]
    assert len(out.trajectory) == 6


def test_gradient_of_a_still_sample_is_finite():
    """A sample whose score is zero does not move in the SNR corrector, and its gradient is a number."""
    x = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    net = torchdiff.wrap(lambda x, t: x * torch.tensor([[0.0], [-1.0]], dtype=torch.float64), "score")
    out = run("predictor_corrector", net=net, prediction=None, x=x, grad=True, steps=1, final="t_min").x
    assert bool(torch.autograd.grad(out.sum(), x)[0].isfinite().all())


class Half(torch.nn.Module):
    """A network in bfloat16."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(7, 7, dtype=torch.bfloat16)

    def forward(self, x, t):
        return self.layer(x)


BAD_CALLS = [
    (dict(prediction=None), OptionError, "say what the network predicts"),
    (dict(net=torchdiff.wrap(field, "v"), prediction="eps"), OptionError, "wrapped as predicting 'v'"),
    (dict(net=3), OptionError, "int, which cannot be called"),
    (dict(shape=None), OptionError, "shape .* or x"),
    (dict(shape=()), OptionError, "batch first"),
    (dict(shape=(2, -1)), OptionError, r"\(2, -1\)"),
    (dict(shape=(2, 2.5)), OptionError, "2.5"),
    (dict(x=torch.zeros(())), OptionError, "batch dimension"),
    (dict(x=(torch.zeros(2), torch.zeros(2))), OptionError, "as many torch tensors, got Tensor, Tensor"),
    (dict(x=torch.zeros(2, 3, dtype=torch.int64)), OptionError, "int64"),
    (dict(dtype=torch.int32), OptionError, "int32"),
    (dict(seed=[1, 2]), ValueError, "2 seeds for a batch of 5"),
    (dict(seed="a"), ValueError, "'a'"),
    (dict(seed=2**64), ValueError, "18446744073709551616"),
    (dict(first_index=-1), OptionError, "-1"),
    (dict(first_index=1.5), OptionError, "1.5"),
    (dict(on_nonfinite="warn"), OptionError, "'warn'"),
    (dict(shape=5), OptionError, "got 5"),
    (dict(x=[0.5, 1.0]), OptionError, "torch tensors, got float, float"),
    (dict(x=3.0), OptionError, "got float"),
    (dict(steps=None, times=0.5), OptionError, "0.5"),
    (dict(steps=None, times=["a", "b"]), OptionError, "'a'"),
    (dict(t_min="a"), OptionError, "'a'"),
    (dict(first_index=2**63), OptionError, "9223372036854775808"),
    (dict(cond=5), OptionError, "got 5"),
    (dict(cond={1: 2}), OptionError, "1: 2"),
    (dict(callback=3), OptionError, "got 3"),
    (dict(device="banana"), OptionError, "'banana' cannot be sampled on"),
    (dict(device="meta"), OptionError, "'meta' cannot be sampled on"),
    (dict(net=lambda x, t: x.to("meta")), NetworkError, "on meta, its input is on cpu"),
    (
        dict(net=Half()),
        NetworkError,
        "parameters are torch.bfloat16, its input is torch.float32; wrap it with dtype=torch.bfloat16",
    ),
    (dict(net=lambda x, t: x.mul_(0.5)), NetworkError, "wrote into its input"),
    (dict(solver="langevin"), IncompatibleError, "predictor_corrector"),
    (dict(solver="predictor_corrector:corrector=(ald:repeat=33)"), OptionError, "1 to 32, got 33"),
    (dict(steps=None, times=[0.5, 0.5 - 1e-17, 0.1]), OptionError, "times"),
    (dict(net=torchdiff.wrap(field, "flow", time="sigma"), sde="flow", prediction=None), IncompatibleError, "inf"),
    (dict(times=[0.1, 0.5], steps=None, solver="ddim"), OptionError, "give it as x"),
    (dict(net=lambda x, t: x[:, :2]), NetworkError, r"\(5, 2\) at t = 1, its input has shape \(5, 7\)"),
    (dict(net=lambda x, t: (x, x)), NetworkError, "tuple at t = 1"),
    (dict(net=lambda x, t: x.long()), NetworkError, "int64"),
    (dict(net=torchdiff.wrap(None, "eps"), prediction=None), OptionError, "no network"),
    (dict(solver="sscs"), IncompatibleError, "more than one block"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD_CALLS)
def test_bad_calls_are_named(options, error, message):
    """A call that cannot be served raises one ValueError that names the argument, its value and the way out."""
    with pytest.raises(error, match=message) as caught:
        run(options.pop("solver", "ddpm"), **options)
    assert isinstance(caught.value, ValueError | TorchdiffError)
