"""Langevin dynamics on their own: the formula, its stationary law, independence of the batch."""

from __future__ import annotations

import math

import pytest
import torch

import torchdiff
from torchdiff import annealed_langevin, langevin
from torchdiff.counters import LANGEVIN, draw_number
from torchdiff.errors import NetworkError, NonFiniteError, OptionError

X = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)


def z(step, seed=7, first_index=0):
    number = draw_number(LANGEVIN, step)
    return torchdiff.noise.normal(X.shape, seed=seed, first_index=first_index, draw=number, dtype=torch.float64)


def test_a_step_is_its_formula():
    """x + a s(x) + sqrt(2 a T) z with the counters' normals of each step."""
    out = langevin(lambda x: -(x**3), X, step=0.01, steps=2, temperature=0.5, seed=7)
    x = X
    for k in range(2):
        x = x - 0.01 * x**3 + math.sqrt(2.0 * 0.01 * 0.5) * z(k)
    torch.testing.assert_close(out.x, x, rtol=1e-14, atol=0.0)  # two sums of three products
    assert out.calls == 2


def test_temperature_zero_is_the_gradient_flow():
    """Without noise the seed does not matter, and a step is Euler's; an energy gives the same as its score."""
    runs = [langevin(lambda x: -2.0 * x, X, step=0.1, steps=5, temperature=0.0, seed=s).x for s in (1, 2)]
    assert torch.equal(*runs)
    torch.testing.assert_close(runs[0], X * 0.8**5, rtol=1e-14, atol=0.0)
    energy = langevin(lambda x: (x**2).sum(1), X, step=0.1, steps=5, temperature=0.0, energy=True, seed=1)
    torch.testing.assert_close(energy.x, runs[0], rtol=1e-14, atol=0.0)


@pytest.mark.parametrize("temperature", [1.0, 0.25])
@pytest.mark.parametrize("variance", [0.5, 2.0])
def test_the_stationary_variance_is_that_of_the_discrete_chain(variance, temperature):
    """On N(0, v) the variance ends at T v / (1 - a / 2v), read off the step itself, and sampled within its interval."""
    a = 0.2
    # the step is linear: x' = m x + n z, and the fixed point of V = m^2 V + n^2 is the closed form
    still = langevin(lambda x: -x / variance, torch.ones(1, 1, dtype=torch.float64), step=a, steps=1, temperature=0.0)
    moved = langevin(lambda x: -x / variance, X * 0.0, step=a, steps=1, temperature=temperature, seed=7)
    m, n = float(still.x), float((moved.x / z(0)).mean())
    wanted = temperature * variance / (1.0 - a / (2.0 * variance))
    assert n**2 / (1.0 - m**2) == pytest.approx(wanted, rel=1e-12)
    start = torch.zeros(20_000, 1, dtype=torch.float64)
    out = langevin(lambda x: -x / variance, start, step=a, steps=200, temperature=temperature, seed=3)
    # five standard errors of the variance of 20,000 values; 200 steps forget the start by m^400 < 1e-18
    assert float(out.x.var()) == pytest.approx(wanted, rel=5.0 * math.sqrt(2.0 / 20_000))


def test_a_chain_does_not_depend_on_its_batch():
    """Chain 1 of two is bit for bit what its index gives alone; seeds a sample do the same."""
    both = langevin(lambda x: -x, X.float(), step=0.1, steps=9, seed=5)
    alone = langevin(lambda x: -x, X[1:].float(), step=0.1, steps=9, seed=5, first_index=1)
    assert torch.equal(both.x[1:], alone.x)
    seeds = langevin(lambda x: -x, X.float(), step=0.1, steps=9, seed=[5, 6])
    assert torch.equal(seeds.x[1:], langevin(lambda x: -x, X[1:].float(), step=0.1, steps=9, seed=6).x)


def test_callback_and_trajectory_see_the_states():
    """every=2 keeps the start and each second state; the callback sees all of them."""
    seen = []
    out = langevin(lambda x: -x, X, step=0.1, steps=6, seed=5, every=2, callback=lambda k, x: seen.append(x.clone()))
    assert torch.equal(out.trajectory, torch.stack([X, seen[1], seen[3], seen[5]]))


def mixture(x, sigma):
    """The score of 0.8 N(-2, 0.04) + 0.2 N(2, 0.04), smoothed by sigma."""
    var = 0.04 + sigma.reshape(-1, 1) ** 2
    gaps = torch.stack([x + 2.0, x - 2.0])
    logs = torch.tensor([0.8, 0.2], dtype=x.dtype).log().reshape(2, 1, 1) - gaps**2 / (2.0 * var)
    return (-gaps / var * logs.softmax(0)).sum(0)


def test_annealed_langevin_finds_both_modes_with_their_weights():
    """From wide noise 20 % of the chains end in the smaller mode; at the last level alone none would change modes."""
    sigmas = [4.0 * 0.75**i for i in range(12)]
    options = dict(epsilon=0.1 * sigmas[-1] ** 2, steps=60, dtype=torch.float64)  # three relaxation times a level
    out = annealed_langevin(mixture, sigmas, shape=(4000, 1), seed=2, **options)
    share = float((out.x > 0.0).double().mean())
    # five standard errors of a share, and 0.02 for the chains that the last levels freeze before they have mixed
    assert share == pytest.approx(0.2, abs=5.0 * math.sqrt(0.16 / 4000) + 0.02)
    assert out.calls == 12 * 60 + 1


def test_annealed_langevin_is_its_formula():
    """Algorithm 1: a_i = epsilon (sigma_i / sigma_L)^2, half of it times the score, its root times z; then denoised."""
    sigmas, x = (2.0, 0.5), X
    for i, sigma in enumerate(sigmas):
        a = 1e-3 * (sigma / 0.5) ** 2
        x = x + 0.5 * a * (-x / sigma**2) + math.sqrt(a) * z(i)
    x = x + 0.25 * (-x / 0.25)
    out = annealed_langevin(lambda x, s: -x / s.reshape(-1, 1) ** 2, sigmas, x=X, epsilon=1e-3, steps=1, seed=7)
    torch.testing.assert_close(out.x, x, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: langevin(lambda x: x, X, step=0.0, steps=1), OptionError, "step must be a positive number"),
        (lambda: langevin(lambda x: x, X, step=0.1, steps=0), OptionError, "steps must be a positive whole number"),
        (lambda: langevin(lambda x: x, X, step=0.1, steps=1, temperature=-1.0), OptionError, "temperature must not"),
        (lambda: langevin(lambda x: x, X, step=0.1, steps=1, temperature="hot"), OptionError, "temperature must be a"),
        (lambda: langevin(lambda x: x, X, step=0.1, steps=1, every=True), OptionError, "every must be a positive"),
        (lambda: langevin(lambda x: x, 3.0, step=0.1, steps=1), OptionError, "x is a tensor"),
        (lambda: langevin(lambda x: x[:1], X, step=0.1, steps=1), NetworkError, r"\(1, 2\)"),
        (lambda: langevin(lambda x: 1e200 * x, X, step=1.0, steps=9, seed=0), NonFiniteError, "chain 0"),
        (lambda: annealed_langevin(mixture, [1.0, 2.0], shape=(2, 1)), OptionError, "positive and fall"),
        (lambda: annealed_langevin(mixture, [1.0]), OptionError, "one of the two"),
    ],
)
def test_bad_calls_are_named(call, error, says):
    """One error that names what came and what was expected."""
    with pytest.raises(error, match=says):
        call()
