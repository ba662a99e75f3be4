"""Bounds on the predicted data: x0 is what is clipped, eps and score follow, and every solver gets it so."""

import math

import numpy as np
import pytest
import torch
from gaussians import OUTPUT, field, levels, network
from instances import MOVERS, prediction_for

import torchdiff
from torchdiff import clip, get_sde, guide, threshold, wrap
from torchdiff.errors import IncompatibleError
from torchdiff.guidance.spread import quantile, total
from torchdiff.predict import read

F64 = torch.float64
LABELS = torch.tensor([0, 1, 2])
RUNS = [(solver, sde) for solver, sde in MOVERS if sde in ("vp", "flow") and ":" not in solver]
LOW, HIGH = -0.25, 0.4


def sample(net, solver, sde, **more):
    ends = {"t_min": 0.05, "t_max": 0.95, "final": "t_min"} if (solver, sde) == ("rk45", "vp") else {}
    options = {"steps": 1 if solver == "rk45" else 4, "shape": (3, 2), "seed": 3, "dtype": F64, **ends, **more}
    return torchdiff.sample(net, sde, solver, cond={"label": LABELS}, **options)


def clipped_by_hand(prediction, sde):
    """The x0 network that reads x0 from `field` and clips it; at sigma = 0 there is none."""

    def net(x, t, label):
        alpha, sigma = levels(sde, t, x)
        output = field(x, t, label=label)
        x0 = (x - sigma * output) / alpha if prediction == "eps" else x - sigma * output  # eps; flow, alpha + sigma = 1
        return x0.clamp(LOW, HIGH)

    return net


@pytest.mark.parametrize(("solver", "sde"), RUNS)
def test_a_clipped_run_is_that_of_the_clipped_x0(solver, sde):
    """Every solver: the run is that of a network which predicts the clipped x0."""
    prediction, t_min = prediction_for(sde), {"t_min": 1e-3, "final": "t_min"} if sde == "flow" else {}
    ours = sample(clip(wrap(field, prediction), LOW, HIGH), solver, sde, **t_min)
    theirs = sample(wrap(clipped_by_hand(prediction, sde), "x0"), solver, sde, **t_min)
    assert ours.calls == theirs.calls
    # 1e-9: x0 of eps is divided by alpha = 1/150 at the first level, and eps of x0 by sigma = 0.001 at the last
    torch.testing.assert_close(ours.x, theirs.x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("solver", "sde"), [run for run in RUNS if torchdiff.get_solver(run[0]).calls is not None])
def test_sampling_to_the_data_ends_within_the_bounds(solver, sde):
    """From alpha = 0 (flow) or alpha = 0.007 (VP) to sigma = 0: the last call denoises, so x is a clipped x0."""
    out = sample(clip(wrap(field, prediction_for(sde)), LOW, HIGH), solver, sde)
    assert out.plan.grid[-1].sigma == 0.0
    # 1e-15: a method with a step of its own to sigma = 0 adds x0 up from x and eps, and the sum rounds
    assert float(out.x.min()) >= LOW - 1e-15
    assert float(out.x.max()) <= HIGH + 1e-15


@pytest.mark.parametrize("prediction", OUTPUT)
@pytest.mark.parametrize("t", [1e-3, 0.4, 0.999])
def test_eps_and_score_follow_from_the_bounded_x0(prediction, t):
    """x = alpha x0 + sigma eps still holds, with x0 within the bounds; wide bounds change nothing: each prediction."""
    sde, x = get_sde("vp"), torch.linspace(-2.0, 2.0, 12, dtype=F64).reshape(3, 4)
    level = sde.level(t)
    exact = network("vp", prediction, [0.3], 0.4)
    net = wrap(lambda x, t: exact(x / 2.0, t, torch.zeros(3, dtype=torch.int64)), prediction, None, lambda level: 2.0)
    bounded = clip(net, LOW, HIGH)
    raw = read(sde, net, x, net(2.0 * x, level), level)
    ours = read(sde, bounded, x, bounded(x, level), level)
    # 1e-11: eps networks tell x0 by a division by alpha = 0.007
    torch.testing.assert_close(ours.x0, raw.x0.clamp(LOW, HIGH), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(level.alpha * ours.x0 + level.sigma * ours.eps, x, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(ours.score, -ours.eps / level.sigma, rtol=1e-11, atol=1e-11)  # x - alpha x0, over 0.0001
    free = clip(net, -1e6, 1e6)
    free = read(sde, free, x, free(x, level), level).eps
    torch.testing.assert_close(free, raw.eps, rtol=1e-9, atol=1e-9)  # and eps back by a division by sigma = 0.01


def test_at_the_data_the_network_is_taken_at_its_word():
    """sigma = 0: x is the data and nobody predicts it; the velocity is that of the network. alpha = 0 is clipped."""
    sde, x = get_sde("flow"), torch.tensor([[3.0, -0.1]], dtype=F64)
    net = wrap(lambda x, t: 0.5 * x, "flow")
    for bounded, low in ((clip(net, LOW, HIGH), -0.05), (threshold(net, 1.0, 0.4), -0.05 / 1.5 * 0.4)):
        level = sde.level(0.0)
        assert torch.equal(read(sde, bounded, x, bounded(x, level), level).velocity, 0.5 * x)
        level = sde.level(1.0)  # x0 = x - output = (1.5, -0.05)
        assert read(sde, bounded, x, bounded(x, level), level).x0.tolist()[0] == pytest.approx([0.4, low], rel=1e-15)


def test_black_box_samples_meet_both_ends():
    """rk45 on the flow from alpha = 0 to sigma = 0, where samples are at t = 0 while others still run."""
    net = wrap(lambda x, t, label: x * 0.3 + t.reshape(-1, 1) * x.abs().mean(1, keepdim=True), "flow")
    whole = sample(clip(net, LOW, HIGH), "rk45", "flow").x
    alone = torchdiff.sample(
        clip(net, LOW, HIGH), "flow", "rk45", steps=1, shape=(1, 2), seed=3, first_index=1, dtype=F64,
        cond={"label": LABELS[1:2]},
    ).x  # fmt: skip
    assert torch.equal(whole[1:2], alone)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.995, 1.0])
@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_the_quantile_is_the_linear_one(level, count):
    """Between order statistics, as NumPy's default, on every row."""
    rows = torch.randn(3, count, generator=torch.Generator().manual_seed(0), dtype=F64)
    np.testing.assert_allclose(quantile(rows, level), np.quantile(rows, level, axis=1), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 1000])
def test_sums_of_samples_are_sums(count):
    """Every element enters once, for odd and even numbers of them, and the bits do not depend on the batch."""
    rows = torch.randn(5, count, generator=torch.Generator().manual_seed(0), dtype=F64)
    expected = [math.fsum(row) for row in rows.tolist()]
    np.testing.assert_allclose(total(rows), expected, rtol=1e-13, atol=1e-13)
    assert torch.equal(total(rows)[3:4], total(rows[3:4]))


@pytest.mark.parametrize("bound", [1.0, 0.5])
def test_dynamic_thresholds_are_imagens(bound):
    """s = max(bound, quantile of |x0|) of each sample; x0 <- bound clip(x0, -s, s) / s."""
    sde, level = get_sde("vp"), get_sde("vp").level(0.4)
    x = (
        torch.linspace(-1.0, 1.0, 60, dtype=F64).reshape(3, 4, 5)
        * torch.tensor([0.3, 2.0, 9.0], dtype=F64)[:, None, None]
    )
    bounded = threshold(wrap(lambda x, t: x, "x0"), 0.9, bound)
    ours = read(sde, bounded, x, bounded(x, level), level).x0.numpy()
    for one, data in zip(ours, x.numpy(), strict=True):
        size = max(bound, np.quantile(np.abs(data), 0.9))
        np.testing.assert_allclose(one, np.clip(data, -size, size) / size * bound, rtol=1e-14)
    assert np.abs(ours).max() == bound


def test_guidance_inside_and_outside_of_a_bound():
    """clip(guide(net)) clips the sum, guide(clip(net)) sums what is clipped: each is its formula."""

    def inside(x, t, label):
        cond, null = (field(x, t, label=y).clamp(LOW, HIGH) for y in (label, torch.full_like(label, 7)))
        return null + 3.0 * (cond - null)

    def outside(x, t, label):
        cond, null = (field(x, t, label=y) for y in (label, torch.full_like(label, 7)))
        return (null + 3.0 * (cond - null)).clamp(LOW, HIGH)

    net = wrap(field, "x0")
    for formula, ours in (
        (inside, guide(clip(net, LOW, HIGH), 3.0, null={"label": 7})),
        (outside, clip(guide(net, 3.0, null={"label": 7}), LOW, HIGH)),
    ):
        for solver in ("dpmpp_2m", "ddpm", "rk45"):
            theirs = sample(wrap(formula, "x0"), solver, "vp").x
            # 1e-10: eps of x0 is divided by sigma = 0.01 at the last level
            torch.testing.assert_close(sample(ours, solver, "vp").x, theirs, rtol=1e-10, atol=1e-10)


def test_a_bound_inside_an_interval_reads_each_sample_at_its_own_level():
    """guide(clip(net)) in rk45: where only some samples are asked twice, x0 is read at the levels of those."""
    guided = guide(clip(wrap(field, "v"), LOW, HIGH), 3.0, null={"label": 7}, interval=(0.3, 0.6), interval_in="t")
    ends = {"t_min": 0.05, "t_max": 0.95, "final": "t_min", "dtype": F64, "seed": 3, "steps": 1}
    whole = torchdiff.sample(guided, "vp", "rk45", shape=(3, 2), cond={"label": LABELS}, **ends).x
    for i in range(3):
        one = {"cond": {"label": LABELS[i : i + 1]}, "shape": (1, 2), "first_index": i}
        assert torch.equal(whole[i : i + 1], torchdiff.sample(guided, "vp", "rk45", **one, **ends).x)


def test_a_bounded_network_may_be_of_half_precision():
    """float16 inside, float32 outside: x0 within the bounds, and x kept in the precision of the state."""
    net = wrap(lambda x, t, label: field(x, t, label=label).to(torch.float16), "v", dtype=torch.float16)
    out = sample(clip(net, LOW, HIGH), "dpmpp_2m", "vp", dtype=torch.float32)
    assert out.x.dtype == torch.float32
    assert float(out.x.abs().max()) <= HIGH + 1e-7  # 0.4 is no float32


@pytest.mark.parametrize("make", [lambda net: clip(net, LOW, HIGH), lambda net: threshold(net, 0.8, 0.3)])
def test_a_seed_is_its_samples_whatever_the_batch(make):
    """Row 2 of a batch of 3 is the sample of index 2 alone, bit for bit in float32."""
    net = make(wrap(lambda x, t: torch.relu(x) - 0.5 * x, "v"))
    both = [
        torchdiff.sample(net, "vp", "ddpm", steps=4, shape=(count, 37), seed=3, first_index=first).x
        for count, first in ((3, 0), (1, 2))
    ]
    assert torch.equal(both[0][2:], both[1])


def test_told_variances_pass_through():
    """A clipped network of 2 C channels: x0 is clipped, the variance is what it says."""

    def net(x, t, label):
        return torch.cat([field(x, t, label=label), torch.sin(x)], dim=1)

    def formula(x, t, label):
        return torch.cat([clipped_by_hand("eps", "vp")(x, t, label), torch.sin(x)], dim=1)

    solver = "ddpm:variance=learned_range"
    ours = sample(clip(wrap(net, "eps", variance=True), LOW, HIGH), solver, "vp").x
    theirs = sample(wrap(formula, "x0", variance=True), solver, "vp").x
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)  # as in test_a_clipped_run_...


def test_bounds_that_mean_nothing_are_refused_before_the_run():
    """At alpha = 0 an eps network does not say x0; block SDEs have none."""
    with pytest.raises(IncompatibleError, match="does not say what x0 is at t = 1 "):
        torchdiff.plan("flow", "ddim", steps=2, denoiser=clip(wrap(None, "eps")))
    with pytest.raises(IncompatibleError, match="Clipped acts on a predicted x0, which an SDE of 2 blocks has not"):
        torchdiff.plan("cld", "sscs", steps=2, denoiser=clip(wrap(None, "score")))
