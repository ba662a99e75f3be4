"""The denoiser of each target is the posterior mean: against quadrature, 50 digits, and its limits."""

from __future__ import annotations

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
import torch
from laws import SMALL, log_density, mp_posterior_mean, parts

import torchdiff
from torchdiff.targets import Checkerboard, Empirical, Mixture, cloud


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("sigma", [0.2, 0.7, 4.0])
def test_denoise_is_tweedies_formula(name, sigma):
    """E[x0 | y] = y + sigma^2 grad log p_sigma(y), the density from the components or by quadrature, grad by autograd.

    1e-12: rounding of both; 60 points of Gauss across a field of width 1 leave 1e-16 at sigma = 0.2.
    """
    one = torch.ones(1, dtype=torch.float64)
    y = SMALL[name].sample(6, seed=1) + sigma * torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    found = SMALL[name].denoise(y, sigma)
    for row, mean in zip(y, found, strict=True):
        slope = torch.func.grad(lambda z: log_density(name, one, sigma * one[:, None], z))(row[None])
        torch.testing.assert_close(mean, row + sigma**2 * slope[0], rtol=0.0, atol=1e-12 * (1.0 + sigma**2))


@pytest.mark.parametrize("sigma", [1e-7, 1e-3, 0.05, 1.0, 1e8])
@pytest.mark.parametrize("spec", ["gaussian:dim=3", "gmm:dim=3,modes=4", "gmm2d", "moons:points=12"])
def test_mixtures_in_50_digits(spec, sigma):
    """Small and large noise, near the data and between modes: 1e-12 of a scale of 1, the rounding of some sums."""
    target = torchdiff.get_target(spec)
    components = target.components
    axes = components.axes if components.axes is not None else torch.eye(target.shape[0]).double().expand(
        len(components.means), -1, -1)  # fmt: skip
    covariances = (axes * components.variances[:, None, :]) @ axes.mT
    y = target.sample(2, seed=4)
    y = torch.cat([y + min(sigma, 10.0), y.mean(0, keepdim=True)])
    found = target.denoise(y, sigma)
    for row, mean in zip(y, found, strict=True):
        exact = mp_posterior_mean(*(part.tolist() for part in (components.weights, components.means, covariances)),
                                  row.tolist(), sigma)  # fmt: skip
        np.testing.assert_allclose(mean.numpy(), exact, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("spec", ["gaussian:dim=3", "gmm:dim=3,modes=4", "gmm2d", "moons:points=12"])
def test_shift_is_the_score_at_any_noise(spec):
    """shift / sigma^2 tends to the score of the data itself, here from its density; so relative digits are kept.

    1e-9: sigma^2 = 1e-12 changes variances of 1e-3 by so much. The plain difference would have 4 digits.
    """
    target = torchdiff.get_target(spec)
    c, y = target.components, target.sample(5, seed=8)
    axes = c.axes if c.axes is not None else torch.eye(y.shape[1]).double().expand(len(c.means), -1, -1)
    normal = torch.distributions.MultivariateNormal(c.means, (axes * c.variances[:, None, :]) @ axes.mT)
    law = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(c.weights), normal)
    exact = torch.func.grad(lambda z: law.log_prob(z).sum())(y)
    torch.testing.assert_close(target.shift(y, 1e-6) / 1e-12, exact, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("name", SMALL)
def test_shift_is_what_denoise_moves(name):
    """denoise(y, sigma) - y to rounding, with sigma = inf among them."""
    sigma = torch.tensor([0.0, 1e-3, 0.4, 5.0, math.inf], dtype=torch.float64)
    y = SMALL[name].sample(5, seed=3) + 0.05
    torch.testing.assert_close(SMALL[name].shift(y, sigma), SMALL[name].denoise(y, sigma) - y, rtol=0.0, atol=1e-14)


def between(points, sigma):
    """Points at which two of the data count alike to within a factor of e or so, whatever sigma."""
    a, b = points[0], points[1]
    lean = sigma**2 / float((a - b).square().sum())
    return torch.stack([0.5 * (a + b) + k * lean * (a - b) for k in (0.0, 0.7, -1.3)] + [a + sigma * b.flip(0)])


@pytest.mark.parametrize("sigma", [1e-3, 0.01, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_finite_sets_keep_their_digits(sigma, offset):
    """Where two points of 784 numbers count alike, by differences in longdouble.

    1e-12, and what the last bits of y - a do to the logit (a - b) . (2 y - a - b) / 2 sigma^2 with |a - b| = 40: four
    times 2^-53 * 40 / 2 sigma^2. A product of matrices would leave 300 times that, distances by differences 10 times.
    """
    data = torch.tensor(np.random.default_rng(1).normal(size=(50, 784))) + offset
    y = between(data, sigma)
    wide, rows = data.numpy().astype(np.longdouble), y.numpy().astype(np.longdouble)
    distance = ((rows[:, None] - wide) ** 2).sum(2)
    logits = -(distance - distance.min(1, keepdims=True)) / (2 * np.longdouble(sigma) ** 2)
    r = np.exp(logits)
    exact = (r / r.sum(1, keepdims=True)) @ wide
    found = Empirical(data).denoise(y, sigma)
    np.testing.assert_allclose(found.numpy(), exact.astype(np.float64), rtol=0.0, atol=1e-12 + 9e-15 / sigma**2)
    if sigma < 1.0:
        assert 0.1 < float(r[1].sum() / r[1].max()) - 1.0 < 0.9  # two points count there: the test tests something


def test_pieces_do_not_show(monkeypatch):
    """A batch in pieces, and candidates in pieces, say what the whole says: the memory bound changes nothing else."""
    data = torch.tensor(np.random.default_rng(2).normal(size=(40, 20)))
    target, mixture = Empirical(data), Mixture([1.0, 2.0], data[:2], torch.rand(2, 20).double() + 0.1)
    y = torch.cat([between(data, 0.01)] * 5)
    whole = target.denoise(y, 0.01), mixture.denoise(y, 0.5)
    monkeypatch.setattr(cloud, "ROWS", 700)
    torch.testing.assert_close(target.denoise(y, 0.01), whole[0], rtol=0.0, atol=1e-13)
    torch.testing.assert_close(mixture.denoise(y, 0.5), whole[1], rtol=0.0, atol=1e-13)


def mp_board(target, y, sigma):
    """The board's posterior mean in 60 digits: masses by erfc, means by the formula of a cut normal law."""
    with mp.workdps(60):
        s, edges = mp.mpf(sigma), [mp.mpf(e) for e in target.edges]

        def cell(c, low, high):
            a, b = (low - c) / s, (high - c) / s
            if a + b < 0:
                a, b, sign = -b, -a, -1
            else:
                sign = 1
            mass = (mp.erfc(a / mp.sqrt(2)) - mp.erfc(b / mp.sqrt(2))) / 2
            return mass, c + sign * s * (mp.npdf(a) - mp.npdf(b)) / mass

        columns = [[cell(mp.mpf(c), *pair) for pair in itertools.pairwise(edges)] for c in y]
        total, mean = mp.mpf(0), [mp.mpf(0), mp.mpf(0)]
        for i, j in target.fields():
            (p, mx), (q, my) = columns[0][i], columns[1][j]
            total, mean = total + p * q, [mean[0] + p * q * mx, mean[1] + p * q * my]
        return [float(v / total) for v in mean]


@pytest.mark.parametrize("sigma", [1e-6, 1e-3, 0.03, 0.3, 0.99, 1.01, 7.0, 1e4, 1e7])
def test_the_board_in_60_digits(sigma):
    """Inside a field, on an edge, in a white field, far outside: 1e-13 of |y| and of the board, at every sigma.

    1e-12: cut normal laws lose the rounding of y over the board's width, nothing more.
    """
    target = Checkerboard()
    y = torch.tensor([[-1.5, -1.4], [0.0, 0.3], [-0.4, 0.7], [2.0 + 3.0 * sigma, -1.2], [3.0, 2.5], [0.0, 0.0]])
    y = torch.cat([y.double(), 2.0 * sigma * torch.tensor([[1.0, -0.7]], dtype=torch.float64)])
    if sigma <= 1e-3:
        y = y[:5]  # beyond, erfc of 60 digits is 0
    found = target.denoise(y, sigma)
    for row, mean in zip(y, found, strict=True):
        np.testing.assert_allclose(mean.numpy(), mp_board(target, row.tolist(), sigma), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("name", SMALL)
def test_ends(name):
    """At sigma = inf, and beyond 1e100, the mean whatever y; at 0 a sample is itself, and just above nearly so."""
    target = SMALL[name]
    x, mean = target.sample(5, seed=2), target.moments()[0]
    for sigma in (math.inf, 1e101, torch.tensor([math.inf, 1e150, 1e300, 1e100, 1e120], dtype=torch.float64)):
        torch.testing.assert_close(target.denoise(x + 1e80, sigma), mean.expand_as(x), rtol=0.0, atol=0.0)
    torch.testing.assert_close(target.denoise(x, 0.0), x, rtol=0.0, atol=1e-15)
    for sigma in (1e-300, 1e-150, 1e-9):
        torch.testing.assert_close(target.denoise(x, sigma), x, rtol=0.0, atol=1e-8)
    # 1e-9: mean + cov (y - mean) / sigma^2 at sigma = 1e5, y = 0
    torch.testing.assert_close(target.denoise(0.0 * x, 1e5), mean.expand_as(x), rtol=0.0, atol=1e-9)


def test_the_nearest_point_without_noise():
    """sigma = 0: a finite set gives the nearest point, two at one distance their middle; the board too."""
    square = Empirical(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    y = torch.tensor([[0.1, 0.2], [0.9, 0.4], [0.5, 0.2], [7.0, -3.0]])
    expected = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.0], [1.0, 0.0]]).double()
    torch.testing.assert_close(square.denoise(y, 0.0), expected, rtol=0.0, atol=0.0)
    hair = torch.tensor([[math.nextafter(0.5, 1.0), 0.2]], dtype=torch.float64)
    torch.testing.assert_close(square.denoise(hair, 0.0), expected[1:2], rtol=0.0, atol=0.0)
    board = Checkerboard()
    y = torch.tensor([[-1.5, -1.9], [-0.9, -1.2], [3.0, 3.0], [-3.0, 5.0], [-0.6, -1.3], [0.5, -0.8]])
    nearest = torch.tensor([[-1.5, -1.9], [-1.0, -1.2], [2.0, 2.0], [-1.0, 2.0], [-0.6, -1.0], [0.5, -1.0]]).double()
    found = board.denoise(y, 0.0)
    torch.testing.assert_close(found, nearest, rtol=0.0, atol=1e-7)  # 1e-7: y is float32
    torch.testing.assert_close(board.denoise(y, 1e-9), nearest, rtol=0.0, atol=1e-7)


def test_rows_have_noise_of_their_own():
    """sigma (B,) is each row's: as one row at a time, for every kind of arithmetic."""
    sigma = torch.tensor([0.0, 1e-3, 0.4, 5.0, math.inf], dtype=torch.float64)
    for target in SMALL.values():
        y = target.sample(5, seed=3) + 0.05
        alone = [target.denoise(y[i : i + 1], sigma[i]) for i in range(5)]
        torch.testing.assert_close(target.denoise(y, sigma), torch.cat(alone), rtol=0.0, atol=1e-14)
        assert target.denoise(y[:0], sigma[:0]).shape == (0, 2)
    w, m, _ = parts("moons:points=16")
    assert len(w) == len(m) == 16
