"""The exact network under every linear SDE: its score is the gradient of the log-density of the whole state."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from laws import SMALL, log_density, mp_posterior_mean

import torchdiff
from torchdiff.denoiser import Denoiser
from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.metrics.gauge import Gauge
from torchdiff.sde import MatrixSDE
from torchdiff.targets import Empirical


def drift(t):
    """Position, velocity and acceleration; N(0, 1) stays in all three."""
    rate, gamma, xi = 2.0 + 3.0 * t, 2.0 * math.sqrt(2.0), 3.0 * math.sqrt(3.0)
    return [[0.0, rate, 0.0], [-rate, 0.0, gamma * rate], [0.0, -gamma * rate, -xi * rate]]


def noise(t):
    return [[0.0] * 3, [0.0] * 3, [0.0, 0.0, math.sqrt(6.0 * math.sqrt(3.0) * (2.0 + 3.0 * t))]]


THIRD = MatrixSDE(drift, noise, blocks=3, start=(0.04, 0.04))
SDES = {name: torchdiff.get_sde(name) for name in ("vp", "ve", "flow", "cosine", "edm", "sub_vp", "ddpm", "cld")}
SDES["third"] = THIRD


def law(level):
    """along (n,) and noise (n, n) of a level."""
    alpha, sigma = ([[level.alpha]], [[level.sigma]]) if level.scalar else (level.alpha, level.sigma)
    return torch.tensor(alpha, dtype=torch.float64)[:, 0], torch.tensor(sigma, dtype=torch.float64)


def state(target, level, count, seed):
    """Blocks (n, B, 2) of exact samples of the marginal."""
    along, factor = law(level)
    eps = torch.randn(len(along), count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return along[:, None, None] * target.sample(count, seed=seed) + torch.einsum("ij,jbd->ibd", factor, eps)


@pytest.mark.parametrize("sde", SDES)
@pytest.mark.parametrize("name", SMALL)
def test_score_is_the_gradient_of_log_p(sde, name):
    """Score of the last block, by autograd through the density of all blocks; five times, each row at its own.

    1e-10 of the largest score: the covariance of the blocks has a condition number of some 1e5 here.
    """
    process, target = SDES[sde], SMALL[name]
    low = 0.5 if name == "checkerboard" else 0.15  # its quadrature wants some noise
    times = [process.t_max * (low + (0.999 - low) * k / 4) for k in range(5)]
    levels = [process.level(t) for t in times]
    blocks = torch.cat([state(target, level, 1, seed=k) for k, level in enumerate(levels)], dim=1)
    net = target.denoiser(process, "score")
    found = net.net(*blocks, torch.tensor(times, dtype=torch.float64))
    exact = []
    for k, (along, factor) in enumerate(map(law, levels)):
        exact.append(torch.func.grad(functools.partial(log_density, name, along, factor))(blocks[:, k])[-1])
    exact = torch.stack(exact)
    torch.testing.assert_close(found, exact, rtol=0.0, atol=1e-10 * float(exact.abs().max()))


@pytest.mark.parametrize("sde", ["vp", "flow", "ve"])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "flow", "score"])
def test_every_word_says_the_same(sde, prediction):
    """x0 and eps as read from each prediction, at a middle time: 1e-12, some divisions by sigma = 0.1 and above."""
    target, process = SMALL["mixture"], torchdiff.get_sde(sde)
    level = process.level(0.5 * process.t_max)
    (x,) = state(target, level, 4, seed=0)
    denoiser = target.denoiser(process, prediction)
    output = denoiser(x, level)[0]
    u, w = denoiser.meaning(level)
    x0 = target.denoise(x / level.alpha, level.sigma / level.alpha)
    eps = (x - level.alpha * x0) / level.sigma
    scale = 1.0 + abs(u) + abs(w)
    torch.testing.assert_close(output, u * x0 + w * eps, rtol=0.0, atol=1e-12 * scale)


@pytest.mark.parametrize("spec", ["gmm2d", "checkerboard", "moons"])
def test_the_ends_of_the_process(spec):
    """flow at t = 1, where alpha = 0: the mean, whatever x. VP at t = 0, where sigma = 0: v = 0, for x0 is x."""
    target = torchdiff.get_target(spec)
    x, mean = target.sample(3) + 50.0, target.moments()[0]
    output = target.denoiser("flow").net(x, torch.ones(3).double())  # v = alpha eps - sigma x0
    torch.testing.assert_close(output, -mean.expand_as(x), rtol=0.0, atol=0.0)
    start = target.denoiser("vp").net(target.sample(3), torch.zeros(3).double())
    torch.testing.assert_close(start, torch.zeros_like(start), rtol=0.0, atol=0.0)


def test_blocks_at_the_data():
    """CLD at t = 0: position and velocity are apart, so the score of v is -v / variance; from rest there is none."""
    target, cld = SMALL["mixture"], torchdiff.get_sde("cld")
    x, v = target.sample(4), torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    variance = cld.level(0.0).sigma[1][1] ** 2
    for t in (0.0, 1e-9):
        found = target.denoiser(cld).net(x, v, torch.full((4,), t, dtype=torch.float64))
        # 1e-6: at t = 1e-9 the blocks have met by 1e-8
        torch.testing.assert_close(found, -v / variance, rtol=1e-6 if t else 1e-14, atol=1e-6 if t else 0.0)
    rest = MatrixSDE(drift, noise, blocks=3)
    with pytest.raises(IncompatibleError, match="no score at t = 0"):
        target.denoiser(rest).net(x, v, v, torch.zeros(4).double())


@pytest.mark.parametrize("sde", ["cld", "third"])
@pytest.mark.parametrize("t", [1e-4, 1e-3, 0.02])
def test_small_times_of_blocks_keep_their_digits(sde, t):
    """Score of the last block in 50 digits from the joint normal law of a Gaussian target, where S is all but singular.

    1e-9: the centre is rounded to 2^-53, and its pull on the score is 1e6 at most here.
    """
    import mpmath as mp

    process, target = SDES[sde], torchdiff.get_target("gaussian:dim=2")
    level, net = process.level(t), torchdiff.get_target("gaussian:dim=2").denoiser(process, "score")
    blocks = state(target, level, 3, seed=5)
    found = net.net(*blocks, torch.full((3,), t, dtype=torch.float64))
    variances = target.parts()[2][0]
    with mp.workdps(50):
        a = mp.matrix([row[0] for row in level.alpha])
        factor = mp.matrix([list(row) for row in level.sigma])
        for b in range(3):
            for d in range(2):
                cov = mp.mpf(float(variances[d])) * a * a.T + factor * factor.T
                z = mp.matrix([float(block[b, d]) for block in blocks])
                exact = -mp.lu_solve(cov, z)[process.blocks - 1]
                assert float(found[b, d]) == pytest.approx(float(exact), rel=1e-9, abs=1e-9)


def test_float32_states_and_their_times():
    """A float32 state gets the float64 answer rounded; a float32 time just above t_max counts as t_max."""
    target = SMALL["gmm2d:modes=3"]
    process = torchdiff.get_sde("cosine:t_max=0.6")
    net, x = target.denoiser(process), target.sample(5).float()
    t = torch.full((5,), 0.6)
    assert float(t[0]) > 0.6
    assert net.net(x, t).dtype == torch.float32
    wide = net.net(x.double(), torch.full((5,), 0.6, dtype=torch.float64))
    torch.testing.assert_close(net.net(x, t), wide.float(), rtol=0.0, atol=0.0)
    with pytest.raises(OptionError, match="outside"):
        net.net(x, t + 1e-3)


@pytest.mark.parametrize("name", ["gmm2d", "checkerboard", "empirical"])
def test_a_tight_solver_returns_the_law(name):
    """The probability flow at 1e-6 samples the target: its sliced W2 is within what real samples score."""
    target = SMALL.get(name) or torchdiff.get_target(name)
    solver = "rk45:rtol=1e-6,atol=1e-6"
    x = torchdiff.sample(target.denoiser("vp"), "vp", solver, steps=1, shape=(200, 2), seed=1, dtype=torch.float64).x
    gauge = Gauge("sliced_w2:directions=32", target, 200)
    assert gauge.judge(x) <= gauge.floor[2]
    assert gauge.judge(0.7 * x) > gauge.floor[2]  # the control: what is too narrow is seen


def test_blocks_return_the_law():
    """The same on CLD, through the score of the velocity: 200 steps of sscs."""
    target = torchdiff.get_target("gmm2d")
    x = torchdiff.sample(target.denoiser("cld"), "cld", "sscs", steps=200, shape=(300, 2), seed=1).x
    gauge = Gauge("sliced_w2:directions=32", target, 300)
    assert gauge.judge(x) <= gauge.floor[2]


@pytest.mark.parametrize("sde", ["vp", "flow", "cld"])
def test_rows_are_alone(sde):
    """Rows at one time, at times of their own and one by one say the same; no rows say nothing."""
    target, process = SMALL["round"], SDES[sde]
    net = target.denoiser(process).net
    t = torch.tensor([0.3, 0.3, process.t_max, 0.8], dtype=torch.float64)
    blocks = state(target, process.level(0.5), 4, seed=6)
    alone = torch.cat([net(*(b[i : i + 1] for b in blocks), t[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(net(*blocks, t), alone, rtol=0.0, atol=1e-13)
    torch.testing.assert_close(net(*(b[:2] for b in blocks), t[:2]), alone[:2], rtol=0.0, atol=1e-13)
    assert net(*(b[:0] for b in blocks), t[:0]).shape == (0, 2)


def test_an_exact_network_is_any_network():
    """It is a Denoiser of a plain callable: it may be wrapped, counted and guided as others are."""
    calls = []
    denoiser = SMALL["gmm2d:modes=3"].denoiser("vp")
    counted = Denoiser(lambda x, t: calls.append(1) or denoiser.net(x, t), denoiser.prediction)
    run = {"calls": 5, "shape": (4, 2), "seed": 0}
    a = torchdiff.sample(counted, "vp", "dpmpp_2m", **run).x
    assert torch.equal(a, torchdiff.sample(denoiser, "vp", "dpmpp_2m", **run).x)
    assert len(calls) == 5


def test_wrong_requests_are_named():
    """Predictions that have no meaning there, blocks that are missing."""
    target = SMALL["gmm2d:modes=3"]
    for sde, prediction in (("vp", "energy"), ("vp", "edm"), ("cld", "v"), ("vp", "mixed_score")):
        with pytest.raises(OptionError, match="predicts"):
            target.denoiser(sde, prediction)
    with pytest.raises(IncompatibleError, match="takes 2 block"):
        target.denoiser("cld").net(torch.zeros(1, 2), torch.ones(1))
    images = Empirical(torch.tensor(np.random.default_rng(0).normal(size=(7, 3, 4))))
    net = images.denoiser("vp")
    assert net.net(torch.zeros(2, 3, 4), torch.ones(2)).shape == (2, 3, 4)
    with pytest.raises(OptionError, match=r"\(B, 3, 4\) of floats, got \(2, 12\)"):
        net.net(torch.zeros(2, 12), torch.ones(2))
    assert mp_posterior_mean([1.0], [[0.0]], [[[1.0]]], [2.0], 1.0) == [1.0]  # the reference itself
