"""Classifier-free guidance: the formula, on every solver, for one network call of 2 B rows and no pass of its own."""

import numpy as np
import pytest
import torch
from gaussians import field, levels, network, score, wide
from instances import MOVERS, prediction_for

import torchdiff
from torchdiff import gaussian, get_sde, guide, wrap
from torchdiff.ops import backend
from torchdiff.predict import read
from torchdiff.steps import AffineStep

F64 = torch.float64
LABELS = torch.tensor([0, 1, 2])
NULL = 7
# Each solver by default, on a process with one block whose ends are plain, one with alpha = 0 and sigma = 0, and CLD.
RUNS = [(solver, sde) for solver, sde in MOVERS if sde in ("vp", "flow", "cld") and ":" not in solver]
REMEMBER = ("adams", "deis", "ipndm", "lms", "plms")  # outputs of eps and flow networks, by reference
FEW = [
    *(("vp", solver) for solver in ("ddim", "dpmpp_2m", "unipc", "euler_maruyama", "ddpm", "heun", "rk45")),
    *(("vp", "predictor_corrector"), ("cld", "sscs"), ("cld", "euler_maruyama")),
]


class Counted:
    """A network that notes the rows and the time of each call."""

    def __init__(self, net=field):
        self.net, self.rows, self.times, self.labels = net, [], [], []

    def __call__(self, *inputs, label):
        self.rows.append(len(inputs[-1]))
        self.times.append(inputs[-1])
        self.labels.append(label)
        return self.net(*inputs, label=label)


def by_hand(scale, null=NULL, net=field):
    """null + scale (cond - null), one network of its own."""

    def guided(*inputs, label):
        other = net(*inputs, label=torch.full_like(label, null))
        return other + scale * (net(*inputs, label=label) - other)

    return guided


def options(solver, sde, steps=4):
    """rk45 is kept away from t = 0 of VP, where its flow is infinite."""
    ends = {"t_min": 0.05, "t_max": 0.95, "final": "t_min"} if solver == "rk45" else {}
    return {"steps": 1 if solver == "rk45" else steps, "shape": (3, 2), "seed": 3, "dtype": F64, **ends}


def sample(net, solver, sde, label=LABELS, **more):
    return torchdiff.sample(net, sde, solver, cond={"label": label}, **{**options(solver, sde), **more})


@pytest.mark.parametrize(("solver", "sde"), RUNS)
def test_guidance_is_its_formula(solver, sde):
    """Every solver: the guided run is the run of a network that is null + 2.5 (cond - null)."""
    prediction = prediction_for(sde)
    ours = sample(guide(wrap(field, prediction), 2.5, null={"label": NULL}), solver, sde)
    theirs = sample(wrap(by_hand(2.5), prediction), solver, sde)
    assert ours.calls == theirs.calls
    # 1e-12: weights w and 1 - w, and one sum more in the plan, are rounded otherwise; slopes of at most 3 over 10 calls
    torch.testing.assert_close(ours.x, theirs.x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("sde", "solver"), FEW)
def test_scale_one_is_the_condition_and_zero_the_other(sde, solver):
    """Bit for bit, and B rows a call: the network that the weight makes nothing of is not asked."""
    prediction = prediction_for(sde)
    for scale, label in ((1.0, LABELS), (0.0, torch.full((3,), NULL))):
        net = Counted()
        ours = sample(guide(wrap(net, prediction), scale, null={"label": NULL}), solver, sde)
        assert torch.equal(ours.x, sample(wrap(field, prediction), solver, sde, label=label).x)
        assert set(net.rows) == {3}


@pytest.mark.parametrize(("solver", "sde"), [run for run in RUNS if torchdiff.get_solver(run[0]).affine])
def test_the_sum_is_in_the_plan(solver, sde):
    """The guided plan has the items and draws of the plain one, and each call mixes two outputs by w and 1 - w.

    Its rows are the same but where a multistep method remembers an output as it is: the sum of two is one row more.
    """
    plain = torchdiff.plan(sde, solver, steps=4, prediction=prediction_for(sde))
    net = guide(wrap(None, prediction_for(sde)), 3.0, null={"label": NULL})
    guided = torchdiff.plan(sde, solver, steps=4, denoiser=net)
    assert len(guided.items) == len(plain.items)
    for ours, theirs in zip(guided.items, plain.items, strict=True):
        assert isinstance(ours, AffineStep)
        assert (ours.at, ours.draws) == (theirs.at, theirs.draws)
        assert len(ours.weights) - len(theirs.weights) in ((0, 1) if solver in REMEMBER else (0,))
        assert ours.mix == ((3.0, -2.0) if ours.at else ())


def test_one_call_of_the_network_and_one_of_the_op(monkeypatch):
    """20 steps and the denoising one: 21 network calls of 2 B rows, the condition first, and 21 of the op."""
    net, calls, made = Counted(), [], torch.ops.torchdiff.affine
    monkeypatch.setattr(torchdiff.run.ops, "affine", lambda *given: calls.append(0) or made(*given))
    out = sample(guide(wrap(net, "eps"), 3.0, null={"label": NULL}), "dpmpp_2m", "vp", steps=20, grad=True)
    assert net.rows == [6] * 21
    assert all(label.tolist() == [0, 1, 2, NULL, NULL, NULL] for label in net.labels)
    assert out.calls == out.plan.calls == 21
    assert len(calls) == 21 + 1  # grad=True takes the op and no program; one more draws the start


@pytest.mark.skipif(backend().name != "extension", reason="the program is compiled code")
def test_guided_rows_go_by_the_program(monkeypatch):
    """Without grad, each item is one call of the compiled program, as without guidance."""
    count, walk = [], torchdiff.program.Program.walk

    def counted(*arguments, **options):
        step, move, rows, times = walk(*arguments, **options)

        def moved(*given):
            made = move(*given)
            count.append(made is not None)
            return made

        return step, moved, rows, times

    monkeypatch.setattr(torchdiff.program.Program, "walk", counted)
    sample(guide(wrap(field, "eps"), 3.0, null={"label": NULL}), "dpmpp_2m", "vp", steps=20)
    assert count == [True] * 21


@pytest.mark.parametrize(("clock", "low", "high"), [("sigma", 0.4, 3.0), ("t", 0.3, 0.62)])
def test_outside_the_interval_nothing_is_wasted(clock, low, high):
    """2 B rows where low < sigma / alpha (or t) <= high, B elsewhere, and the run of the formula with that weight."""
    net = Counted()
    guided = guide(wrap(net, "eps"), 4.0, null={"label": NULL}, interval=(low, high), interval_in=clock)
    out = sample(guided, "heun", "vp", steps=9)
    inside = []
    for t in net.times:
        level = get_sde("vp").level(float(t[0]))
        inside.append(low < (level.sigma / level.alpha if clock == "sigma" else level.t) <= high)
    assert net.rows == [6 if here else 3 for here in inside]
    assert {True, False} == set(inside)

    def formula(x, t, label):
        alpha, sigma = levels("vp", t, x)
        at = sigma / alpha if clock == "sigma" else wide(t, x)
        return torch.where((low < at) & (at <= high), by_hand(4.0)(x, t, label=label), field(x, t, label=label))

    # as in test_guidance_is_its_formula
    torch.testing.assert_close(out.x, sample(wrap(formula, "eps"), "heun", "vp", steps=9).x, rtol=1e-12, atol=1e-12)


def test_an_interval_is_open_below_and_closed_above():
    """At sigma / alpha = high guidance counts, at low it does not (Kynkaanniemi et al. 2024)."""
    level = get_sde("flow").level(0.5)  # sigma / alpha = 1 exactly
    for interval, mix in (((0.5, 1.0), (3.0, -2.0)), ((1.0, 2.0), (1.0,))):
        assert guide(wrap(None, "flow"), 3.0, null={"label": NULL}, interval=interval).mix(level) == mix


def test_with_a_time_for_each_sample_only_those_inside_are_asked_twice():
    """rk45: a call has B rows and one more for each sample that is in the interval at its own time."""
    net = Counted()
    guided = guide(wrap(net, "eps"), 4.0, null={"label": NULL}, interval=(0.3, 0.6), interval_in="t")
    sample(guided, "rk45", "vp")
    for rows, times in zip(net.rows, net.times, strict=True):
        assert rows == 3 + sum(0.3 < t <= 0.6 for t in times[:3].tolist())
    assert len(set(net.rows)) > 2  # some calls have some of the samples inside


@pytest.mark.parametrize("more", [{}, {"rescale": 0.7}, {"interval": (0.3, 2.0)}], ids=str)
@pytest.mark.parametrize("solver", ["dpmpp_2m", "euler_maruyama", "predictor_corrector", "rk45"])
def test_a_scale_for_each_sample_is_that_of_its_own_run(solver, more):
    """Sample i of a batch with scales (0, 1, 4) is, bit for bit, what [scale] alone gives, and to 1e-12 the number."""
    scales, make = [0.0, 1.0, 4.0], lambda s: guide(wrap(field, "eps"), s, null={"label": NULL}, **more)
    together = sample(make(torch.tensor(scales)), solver, "vp").x
    for i, scale in enumerate(scales):
        one = {"label": LABELS[i : i + 1], "shape": (1, 2), "first_index": i}
        assert torch.equal(together[i : i + 1], sample(make([scale]), solver, "vp", **one).x)
        number = sample(make(scale), solver, "vp", **one).x
        torch.testing.assert_close(together[i : i + 1], number, rtol=1e-12, atol=1e-12)  # summed in another place


def test_a_scale_may_be_a_function_of_the_level():
    """scale(level) is read once a level at planning, and 1 there means one call of B rows."""
    net = Counted()
    guided = guide(wrap(net, "eps"), lambda level: 1.0 if level.t > 0.5 else 2.0 + level.t, null={"label": NULL})
    out = sample(guided, "ddim", "vp", steps=6)
    for item, rows in zip(out.plan.items, net.rows, strict=True):
        t = item.at.t
        assert (item.mix, rows) == (((1.0,), 3) if t > 0.5 else ((2.0 + t, 1.0 - (2.0 + t)), 6))


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "score", "flow"])
def test_the_guided_score_is_that_of_the_weighted_gaussians(prediction):
    """For N(m_y, v): score = s_u + w (s_c - s_u), whatever the network predicts."""
    level, x = get_sde("vp").level(0.4), torch.linspace(-2.0, 2.0, 12, dtype=F64).reshape(3, 4)
    net = wrap(network("vp", prediction, [0.5, -1.0], 0.3), prediction)
    guided = guide(net, 3.5, null={"label": 1}).bind({"label": torch.zeros(3, dtype=torch.int64)})
    ours = read(get_sde("vp"), guided, x, guided(x, level), level).score
    cond, null = (score(x, mean, 0.3, level.alpha, level.sigma) for mean in (0.5, -1.0))
    torch.testing.assert_close(ours, null + 3.5 * (cond - null), rtol=1e-12, atol=1e-12)  # a dozen roundings


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m", "unipc", "heun", "ode"])
def test_gaussian_classes_guide_to_the_gaussian_between(solver):
    """Equal variances: s_u + w (s_c - s_u) is the exact score of N(m_u + w (m_c - m_u), v), whose map is known."""
    means, variance, scale = [0.5, -0.25], 0.3, 3.0
    guided = guide(wrap(network("vp", "eps", means, variance), "eps"), scale, null={"label": 1})
    out = sample(guided, solver, "vp", steps=7, label=torch.zeros(3, dtype=torch.int64))
    exact = gaussian.push(out.plan, variance, means[1] + scale * (means[0] - means[1]))
    start = sample(guided, solver, "vp", steps=7, label=torch.zeros(3, dtype=torch.int64), trajectory=True).trajectory[
        0
    ]
    expected = exact.matrix[0, 0, 0] * start.numpy() + exact.shift[0, 0]
    # 1e-11: the network divides by alpha = 0.0066 at the first level, which costs two digits
    np.testing.assert_allclose(out.x.numpy(), expected, rtol=1e-11, atol=1e-11)


def test_rescale_brings_the_spread_back():
    """guided (1 - phi + phi std(cond) / std(guided)) in each sample, std over all its numbers (Lin et al. 2023)."""
    level, x = get_sde("vp").level(0.4), torch.linspace(-2.0, 2.0, 30, dtype=F64).reshape(3, 2, 5)
    for phi in (0.3, 1.0):
        guided = guide(wrap(field, "v"), 5.0, null={"label": NULL}, rescale=phi).bind({"label": LABELS})
        (ours,) = guided(x, level)
        t = torch.full((3,), level.t, dtype=F64)
        full, cond = by_hand(5.0)(x, t, label=LABELS), field(x, t, label=LABELS)
        spread = [value.numpy().reshape(3, -1).std(axis=1) for value in (cond, full)]
        factor = 1.0 - phi + phi * spread[0] / spread[1]
        np.testing.assert_allclose(ours.numpy(), full.numpy() * factor.reshape(3, 1, 1), rtol=1e-13, atol=1e-14)
    # with phi = 1 the spread is the conditional one's
    np.testing.assert_allclose(ours.numpy().reshape(3, -1).std(axis=1), spread[0], rtol=1e-13)


def test_an_output_of_equal_numbers_has_nothing_to_rescale():
    """A network fresh from its zero-initialised head gives zeros and not nan; so does its gradient."""
    x = torch.ones(2, 3, dtype=F64, requires_grad=True)
    net = guide(wrap(lambda x, t, label: x * 0.0, "eps"), 3.0, null={"label": NULL}, rescale=1.0)
    (out,) = net.bind({"label": LABELS[:2]})(x, get_sde("vp").level(0.4))
    (slope,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(out, torch.zeros(2, 3, dtype=F64))
    assert torch.equal(slope, torch.zeros(2, 3, dtype=F64))


def test_a_negative_prompt_stands_in_the_place_of_nothing():
    """negative + w (cond - negative), one a sample too."""
    negative = torch.tensor([2, 0, 1])
    ours = sample(guide(wrap(field, "eps"), 2.0, negative={"label": negative}), "ddim", "vp").x

    def formula(x, t, label):
        other = field(x, t, label=negative)
        return other + 2.0 * (field(x, t, label=label) - other)

    # as in test_guidance_is_its_formula
    torch.testing.assert_close(ours, sample(wrap(formula, "eps"), "ddim", "vp").x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", ["dpmpp_2m", "rk45"])
def test_two_calls_are_one(solver):
    """batched=False: two calls of B rows and the same bits; the sides may then be anything, None too."""
    nets = Counted(), Counted(lambda x, t, label: field(x, t, label=torch.full((3,), NULL) if label is None else label))
    one = sample(guide(wrap(nets[0], "eps"), 3.0, null={"label": NULL}), solver, "vp").x
    two = sample(guide(wrap(nets[1], "eps"), 3.0, null={"label": None}, batched=False), solver, "vp").x
    assert torch.equal(one, two)
    assert (set(nets[0].rows), set(nets[1].rows)) == ({6}, {3})


def test_conditions_of_every_form_share_a_batch():
    """Numbers, one row, a row a sample, tensors inside a mapping, and what both sides share: each row gets its own."""
    seen = {}

    def net(x, t, **cond):
        seen.update(cond)
        return x

    words = torch.arange(12.0).reshape(3, 2, 2)
    cond = {
        "label": 4,
        "words": words,
        "more": {"size": torch.tensor([[5.0]]), "flag": "a"},
        "mask": LABELS,
        "table": 9,
    }
    null = {"label": 7, "words": torch.zeros(1, 2, 2), "more": {"size": torch.tensor([[6.0]]), "flag": "a"}}
    cond["more"]["flag"] = null["more"]["flag"]
    guided = guide(wrap(net, "eps"), 3.0, null=null, shared=("mask", "table")).bind(cond)
    guided(torch.zeros(3, 2), get_sde("vp").level(0.4))
    assert seen["label"].tolist() == [4] * 3 + [7] * 3
    assert torch.equal(seen["words"], torch.cat([words, torch.zeros(3, 2, 2)]))
    assert seen["more"]["size"].tolist() == [[5.0]] * 3 + [[6.0]] * 3
    assert (seen["more"]["flag"], seen["table"]) == ("a", 9)
    assert torch.equal(seen["mask"], torch.cat([LABELS, LABELS]))


def test_a_told_variance_is_that_of_the_condition():
    """Networks of 2 C channels: the prediction is guided, the variance is what comes with the condition."""

    def net(x, t, label):
        return torch.cat([field(x, t, label=label), torch.sin(x + wide(label, x))], dim=1)

    def formula(x, t, label):
        return torch.cat([by_hand(3.0)(x, t, label=label), torch.sin(x + wide(label, x))], dim=1)

    solver = "ddpm:variance=learned_range"
    guided = guide(wrap(net, "eps", variance=True), 3.0, null={"label": NULL})
    theirs = sample(wrap(formula, "eps", variance=True), solver, "vp").x
    torch.testing.assert_close(sample(guided, solver, "vp").x, theirs, rtol=1e-12, atol=1e-12)  # as above


@pytest.mark.parametrize("more", [{}, {"rescale": 0.5}], ids=str)
def test_a_half_precision_network_is_summed_in_the_precision_of_the_state(more):
    """A float16 network under a float64 state: the halves are added up in float64 and not rounded again."""

    def half(x, t, label):
        assert x.dtype == torch.float16
        return field(x, t, label=label)

    level, x = get_sde("vp").level(0.4), torch.linspace(-2.0, 2.0, 6, dtype=F64).reshape(3, 2)
    guided = guide(wrap(half, "eps", dtype=torch.float16), 3.0, null={"label": NULL}, **more).bind({"label": LABELS})
    ours = read(get_sde("vp"), guided, x, tuple(o.double() for o in guided(x, level)), level).eps
    t = torch.full((3,), level.t, dtype=torch.float32)
    cond, null = (half(x.half(), t, label).double() for label in (LABELS, torch.full((3,), NULL)))
    theirs = null + 3.0 * (cond - null)
    if more:
        theirs = theirs * (0.5 + 0.5 * cond.std(dim=1) / theirs.std(dim=1)).unsqueeze(1)
    torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=1e-14)


def test_an_energy_network_is_guided_by_its_gradients():
    """The gradients of E(x | cond) and E(x | null) are what is summed."""

    def energy(x, t, label):
        return (0.5 * (x - 0.1 * wide(label, x)) ** 2).flatten(1).sum(1)

    def formula(x, t, label):
        return by_hand(3.0, net=lambda x, t, label: -(x - 0.1 * wide(label, x)))(x, t, label=label)

    ours = sample(guide(wrap(energy, "energy"), 3.0, null={"label": NULL}), "ddim", "vp").x
    # as in test_guidance_is_its_formula
    torch.testing.assert_close(ours, sample(wrap(formula, "score"), "ddim", "vp").x, rtol=1e-12, atol=1e-12)


def test_guidance_composes_with_check_and_latent_models():
    """A network that `wrap` has checked on data, sampling latents: out.x is decoded, out.state is not."""
    data = 0.5 + 0.5 * torch.randn(64, 8, generator=torch.Generator().manual_seed(0), dtype=F64)
    net, zeros = network("vp", "eps", [0.5, -1.0], 0.25), torch.zeros(64, dtype=torch.int64)
    latent = torchdiff.Latent(decode=lambda z: 10.0 * z, encode=lambda x: x)
    checked = wrap(net, "eps", sde="vp", check=(data, {"label": zeros}), latent=latent)
    out = sample(guide(checked, 2.0, null={"label": 1}), "ddim", "vp", label=zeros[:3])
    assert torch.equal(out.x, 10.0 * out.state[0])
    plain = sample(guide(wrap(net, "eps"), 2.0, null={"label": 1}), "ddim", "vp", label=zeros[:3])
    assert torch.equal(out.state[0], plain.x)


def test_guided_encoding_comes_back():
    """With increasing times a guided network encodes; 200 steps of Heun there and back return to the data."""
    guided, x = guide(wrap(field, "eps"), 2.0, null={"label": NULL}), torch.linspace(-1, 1, 6, dtype=F64).reshape(3, 2)
    times = np.geomspace(0.05, 0.9, 101).tolist()
    common = {"cond": {"label": LABELS}, "final": "t_min"}
    noise = torchdiff.sample(guided, "vp", "heun", times=times, x=x, cond=common["cond"]).x
    back = torchdiff.sample(guided, "vp", "heun", times=times[::-1], x=noise, **common).x
    torch.testing.assert_close(back, x, rtol=0, atol=1e-3)  # second order, 100 steps of 3 %: 1e-3, seen 1e-5


def test_a_seed_is_its_samples_whatever_the_batch():
    """Row 2 of a batch of 3 is the sample of index 2 alone, in all forms of guidance, bit for bit in float32 too."""
    for more in ({}, {"rescale": 0.7}, {"interval": (0.3, 2.0)}, {"batched": False}):
        guided = guide(wrap(field, "eps"), 4.0, null={"label": NULL}, **more)
        whole = sample(guided, "ddpm", "vp", dtype=torch.float32, shape=(3, 37)).x
        alone = sample(guided, "ddpm", "vp", dtype=torch.float32, shape=(1, 37), first_index=2, label=LABELS[2:]).x
        assert torch.equal(whole[2:], alone), more


def test_derivatives_go_through_guidance():
    """grad=True: the derivative of the samples by a weight of the network is that of the formula."""
    slopes = []
    for make in (lambda net: guide(wrap(net, "eps"), 3.0, null={"label": NULL}, rescale=0.0), None):
        weight = torch.tensor(0.7, dtype=F64, requires_grad=True)
        net = lambda x, t, label, weight=weight: weight * field(x, t, label=label)  # noqa: E731
        denoiser = make(net) if make else wrap(by_hand(3.0, net=net), "eps")
        out = sample(denoiser, "dpmpp_2m", "vp", grad=True)
        slopes.append(float(torch.autograd.grad(out.x.sum(), weight)[0]))
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-12)  # as the values
    assert abs(slopes[0]) > 0.1
