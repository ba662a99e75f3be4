"""Laws of reversal: the score brings the data's law back, and the divergence of g g^T is part of the drift."""

from __future__ import annotations

import math

import pytest
import torch

import torchdiff
from torchdiff import SDE, noise, reverse, simulate
from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.jacobians import divergence

MU, SIGMA, MEAN, SPREAD, END = 0.1, math.sqrt(0.1), 0.2, math.sqrt(0.1), 1.0
COUNT = 40_000


def geometric(kind, dims=1):
    """dX = mu X dt + sigma X dW, the noise in each of the kinds that can write it for one coordinate."""
    if kind == "matrix":
        return SDE.of(lambda x, t: MU * x, lambda x, t: torch.diag_embed(SIGMA * x), kind)
    return SDE.of(lambda x, t: MU * x, lambda x, t: SIGMA * x, kind)


def lognormal(t):
    """Mean and variance of log X_t where log X_0 ~ N(MEAN, SPREAD^2)."""
    return MEAN + (MU - 0.5 * SIGMA**2) * t, SPREAD**2 + SIGMA**2 * t


def score(x, t):
    """grad log p_t of the lognormal: -(1 + (log x - m) / v) / x."""
    mean, variance = lognormal(t.reshape(-1, 1))
    return -(1.0 + (x.log() - mean) / variance) / x


def recovered(kind, **options):
    """Mean of log X_0 - MEAN after a reversal from the exact law at END, and its 4-sigma half-width."""
    mean, variance = lognormal(END)
    x = torch.exp(mean + math.sqrt(variance) * noise.normal((COUNT, 1), seed=7, dtype=torch.float64))
    x0 = simulate(reverse(geometric(kind), score, **options), x, [END, 0.0], seed=1, steps=128, method="milstein").x[-1]
    logs = x0[:, 0].log()
    return float(logs.mean()) - MEAN, 4.0 * float(logs.std()) / math.sqrt(COUNT), float(logs.var())


# what Milstein with 128 steps leaves of E log X: a bias of order one in the step, 0.0006 from 64 to 128 steps
DISCRETE = 0.002


@pytest.mark.parametrize("kind", ["diagonal", "scalar", "matrix"])
def test_geometric_brownian_motion_comes_back(kind):
    """From its law at T by its exact score, log X_0 has the mean and the variance that it started with."""
    shift, width, variance = recovered(kind)
    assert width < 0.007
    assert abs(shift) <= width + DISCRETE
    assert abs(variance / SPREAD**2 - 1.0) < 4.0 * math.sqrt(2.0 / COUNT) + 0.02  # 0.02: the first-order bias


def test_without_the_divergence_it_does_not():
    """The control: a zero in its place shifts E log X_0 by -2 v0 log(v_T / v0) = -0.1386, and the law above fails.

    In y = log x the drift then has 2 sigma^2 too much, and a shift d obeys d' = sigma^2 d / v_t + 2 sigma^2, v_t =
    v0 + sigma^2 t, d(T) = 0.
    """
    shift, width, _ = recovered("diagonal", divergence=lambda x, t: 0.0)
    expected = -2.0 * SPREAD**2 * math.log(lognormal(END)[1] / SPREAD**2)
    assert abs(expected + 0.1386) < 1e-4
    assert abs(shift - expected) <= width + DISCRETE
    assert abs(shift) > width + DISCRETE


def curved(kind):
    """A diffusion in 3 dimensions whose every entry depends on every coordinate, in each kind."""

    def g(x, t):
        mixed = torch.stack([x[:, 0] * x[:, 1], x[:, 1] + x[:, 2] ** 2, (x[:, 0] * x[:, 2]).sin()], dim=1)
        return mixed if kind != "matrix" else torch.stack([mixed, mixed.cos() * x], dim=2)

    return SDE.of(lambda x, t: 0.0, g, kind)


@pytest.mark.parametrize("kind", ["diagonal", "scalar", "matrix"])
def test_the_divergence_is_the_sum_of_derivatives(kind):
    """div(g g^T)_i = sum_j d(g g^T)_ij / dx_j, against the derivatives of the whole matrix by reverse mode."""
    sde, x = curved(kind), noise.normal((4, 3), seed=2, dtype=torch.float64)

    def square(row):
        g = sde.diffusion(row.unsqueeze(0), 0.0)[0]
        return {"diagonal": lambda: torch.diag(g * g), "scalar": lambda: g[:, None] * g, "matrix": lambda: g @ g.T}[
            kind
        ]()

    for row, found in zip(x, divergence(sde, x, 0.0), strict=True):
        slopes = torch.autograd.functional.jacobian(square, row)  # (i, j, k)
        torch.testing.assert_close(found, slopes.diagonal(dim1=1, dim2=2).sum(1), rtol=0.0, atol=1e-13)


def test_a_given_derivative_gives_the_same_divergence():
    """g_prime as a formula and by forward mode agree, in each kind."""
    x = noise.normal((4, 2), seed=2, dtype=torch.float64)
    for kind in ("diagonal", "scalar"):
        plain = SDE.of(lambda x, t: 0.0, lambda x, t: x.sin(), kind)
        given = SDE.of(lambda x, t: 0.0, lambda x, t: x.sin(), kind, lambda x, t: x.cos())
        torch.testing.assert_close(divergence(given, x, 0.0), divergence(plain, x, 0.0), rtol=0.0, atol=1e-14)
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)

    def g(x, t):
        return torch.stack([x, x @ turn.T], dim=2)

    slope = torch.stack([torch.eye(2, dtype=torch.float64), turn], dim=1).expand(4, 2, 2, 2)
    plain, given = SDE.of(lambda x, t: 0.0, g, "matrix"), SDE.of(lambda x, t: 0.0, g, "matrix", lambda x, t: slope)
    torch.testing.assert_close(divergence(given, x, 0.0), divergence(plain, x, 0.0), rtol=0.0, atol=1e-14)


@pytest.mark.parametrize("noise_kind", ["white", "brownian"])
@pytest.mark.parametrize("sde", ["vp", "ve", "cld:mass=1,beta=1,t_max=3"])
def test_a_reversed_linear_sde_is_what_sample_runs(sde, noise_kind):
    """simulate(reverse(sde, score)) by Euler-Maruyama and sample(..., "euler_maruyama") are one formula on one noise.

    On times that are dyadic fractions of t_max, which the path has exactly; 1e-12: a few hundred roundings.
    """
    process = torchdiff.get_sde(sde)
    times = [process.t_max * (1.0 - i / 16) for i in range(13)]
    x = tuple(noise.normal((5, 3), seed=2, draw=b, dtype=torch.float64) for b in range(process.blocks))

    def net(*inputs):
        return -0.5 * inputs[-2] + 0.1 * torch.sin(inputs[0])

    mine = simulate(reverse(sde, net), x, times, seed=6, steps=1, noise=noise_kind)
    theirs = torchdiff.sample(
        net, sde, "euler_maruyama", times=times, x=x, prediction="score", seed=6, noise=noise_kind, final="t_min"
    )
    for a, b in zip(mine.state, theirs.state, strict=True):
        torch.testing.assert_close(a[-1], b, rtol=1e-12, atol=1e-12)


def test_a_wrap_is_read_as_a_score():
    """An eps network is -sigma score: the two reversals are equal."""
    vp = torchdiff.get_sde("vp")
    x = noise.normal((4, 2), seed=1, dtype=torch.float64)

    def eps(x, t):
        return torch.tanh(x) * t.reshape(-1, 1)

    def score(x, t):
        return -eps(x, t) / vp.level(float(t[0])).sigma

    runs = [simulate(reverse("vp", s), x, [1.0, 0.1], seed=1, steps=8).x for s in (torchdiff.wrap(eps, "eps"), score)]
    torch.testing.assert_close(*runs, rtol=1e-12, atol=1e-12)


def test_wrong_reversals_are_named():
    """Each says what is wrong and the way out."""
    sde = geometric("diagonal")
    back = reverse(sde, score)
    x = torch.ones(2, 1, dtype=torch.float64)
    for call, error, words in [
        (lambda: reverse(back, score), OptionError, "reversed already"),
        (lambda: reverse("vp", score, divergence=lambda x, t: 0.0), OptionError, "divergence is zero"),
        (lambda: reverse(sde, 3.0), OptionError, "score is a function"),  # pyright: ignore
        (lambda: reverse(sde, torchdiff.wrap(score, "eps")), IncompatibleError, "as a function"),
        (lambda: reverse("cld", torchdiff.wrap(score, "v")), IncompatibleError, "no meaning"),
        (lambda: simulate(back, x, [0.0, 1.0], steps=2), OptionError, "fall, for it is reversed"),
        (lambda: simulate(sde, x, [1.0, 0.0], steps=2), OptionError, "torchdiff.reverse"),
        (
            lambda: simulate(reverse(sde, lambda x, t: x[0]), x, [1.0, 0.0], steps=2),
            IncompatibleError,
            "the score returned",
        ),
        (lambda: simulate(reverse("vp", score), x, [1.0, 0.1], method="exact"), IncompatibleError, "run forward"),
    ]:
        with pytest.raises(error, match=words):
            call()
