"""What makes a process a process, for every registered one: kernels compose, and marginals obey F and G."""

import random

import numpy as np
import pytest

from torchdiff.registry import SDES

EPS = 2.0**-52
STILL = ("vp", "vp:beta_0=0.2,beta_1=15", "cld", "cld:beta=0.1,slope=6.9", "cld:mass=1,beta=1")


def matrix(value):
    return np.array(value if isinstance(value, tuple) else [[value]])


def kernel(sde, start, end):
    mean, factor = map(np.array, sde.transition(start, end))
    return mean, factor @ factor.T


def marginal(sde, t):
    _, alpha, sigma = sde.level(t)
    return matrix(alpha), matrix(sigma) @ matrix(sigma).T


def assert_same_kernel(got, wanted, rel=1e-12):
    """Relative to the largest entry of the mean map and to the standard deviations that an entry pairs.

    1e-12: a few dozen roundings of exponentials whose arguments reach 10 (B of VP at t = 1), so 1e-14 and a margin.
    """
    for a, b in zip(got, wanted, strict=True):
        assert np.isfinite(a).all()
        assert np.isfinite(b).all()
    assert np.abs(got[0] - wanted[0]).max() <= rel * np.abs(wanted[0]).max()
    spread = np.sqrt(np.diag(wanted[1]))
    assert (np.abs(got[1] - wanted[1]) <= rel * np.outer(spread, spread)).all()


def triples(sde, count=40):
    source = random.Random(20260101)
    for _ in range(count):
        # half of the times uniform, half of them log-uniform: short and long spans, near the data and far from it
        times = [source.random() if source.random() < 0.5 else 10 ** source.uniform(-6, 0) for _ in range(3)]
        yield sorted(sde.t_max * t for t in times)


def test_transitions_compose(sde):
    """kernel(t -> u) after kernel(s -> t) is kernel(s -> u)."""
    for start, middle, end in [*triples(sde), (0.0, 1e-4, 0.5), (0.0, 0.3, sde.t_max)]:
        (first, early), (second, late) = kernel(sde, start, middle), kernel(sde, middle, end)
        assert_same_kernel((second @ first, second @ early @ second.T + late), kernel(sde, start, end))


def test_transition_from_the_data_gives_the_marginal(sde):
    """The kernel 0 -> t carries level(0), floor or spread-out velocity and all, to level(t)."""
    alpha, cov = marginal(sde, 0.0)
    for t in (1e-6, 1e-3, 0.05, 0.4, sde.t_max):
        mean, spread = kernel(sde, 0.0, t)
        assert_same_kernel((mean @ alpha, mean @ cov @ mean.T + spread), marginal(sde, t))


def test_drift_and_noise_match_the_marginals(sde, derivative):
    """d alpha/dt = F alpha and d cov/dt = F cov + cov F^T + G G^T."""
    for t in (0.01, 0.1, 0.35, 0.6, 0.95 * sde.t_max):
        (alpha, cov), drift, noise = marginal(sde, t), np.array(sde.drift(t)), np.array(sde.noise(t))
        terms = drift @ cov, cov @ drift.T, noise @ noise.T
        slope = derivative(lambda t: marginal(sde, t)[0], t)
        growth = derivative(lambda t: marginal(sde, t)[1], t)
        # 1e-11: the error of the difference (see the fixture), with two digits to spare; the terms may cancel, so the
        # scale is theirs and not that of their sum
        assert np.abs(slope - drift @ alpha).max() <= 1e-11 * max(np.abs(drift).max(), 1.0)
        assert np.abs(growth - sum(terms)).max() <= 1e-11 * max(np.abs(term).max() for term in terms)


@pytest.mark.parametrize("span", [1e-5, 1e-7, 1e-9, 1e-12])
def test_short_spans_keep_their_digits(sde, span):
    """The covariance over a short span dt is G G^T dt to leading order, in every entry and to relative accuracy."""
    for start in (1e-3, 0.03, 0.3, 0.8):
        end = start + span
        dt, middle = end - start, start + 0.5 * (end - start)
        noise, drift = np.array(sde.noise(middle))[-1, -1], np.array(sde.drift(middle))
        cov = kernel(sde, start, end)[1]
        change = (sde.noise(end)[-1][-1] / sde.noise(start)[-1][-1]) ** 2 - 1.0  # of G^2, relative
        rate = 4 * np.abs(drift).max() + 4 * abs(change) / dt  # the next order multiplies dt by less
        if sde.blocks == 1:
            # with G and F from the middle, (1 + F dt) leaves a relative error of second order; 64 ulp for rounding
            assert cov[0, 0] / (noise**2 * dt * (1 + drift[0, 0] * dt)) == pytest.approx(
                1.0, rel=0, abs=(rate * dt) ** 2 + 64 * EPS
            )
        else:
            push = drift[0, 1]
            leading = noise**2 * np.array([[push**2 * dt**3 / 3, push * dt**2 / 2], [push * dt**2 / 2, dt]])
            np.testing.assert_allclose(cov / leading, 1.0, rtol=0, atol=rate * dt + 64 * EPS)


def test_no_span_is_the_identity(sde):
    """start == end is the identity with no noise, exactly, wherever alpha is not 0."""
    for t in (0.0, sde.t_min, 0.3, 0.999 * sde.t_max):
        mean, factor = sde.transition(t, t)
        assert np.array_equal(mean, np.eye(sde.blocks))
        assert np.array_equal(factor, np.zeros((sde.blocks, sde.blocks)))


def test_levels_are_finite_at_both_ends(sde):
    """level() is finite at 0, t_min and t_max; alpha(0) is the identity, and every variance positive from t_min on."""
    assert np.array_equal(matrix(sde.level(0.0).alpha), np.eye(sde.blocks))
    for t in (0.0, sde.t_min, sde.t_max):
        assert sde.level(t).t == t
        assert all(np.isfinite(matrix(value)).all() for value in sde.level(t)[1:])
    for t in (max(sde.t_min, 1e-8), sde.t_max):
        assert (np.diag(matrix(sde.level(t).sigma)) > 0).all()


@pytest.mark.parametrize("spec", STILL)
def test_stationary_priors_stay(spec):
    """The prior of a process with a stationary law is that law: no transition changes it, at any time."""
    sde = SDES.get(spec)
    law = np.array(sde.prior(sde.t_max)) @ np.array(sde.prior(sde.t_max)).T
    assert sde.prior(0.1) == sde.prior(sde.t_max)
    for start, end in ((0.0, 0.01), (0.2, 0.7), (0.0, 1.0)):
        mean, cov = kernel(sde, start, end)
        np.testing.assert_allclose(mean @ law @ mean.T + cov, law, rtol=0, atol=8 * EPS)  # a few roundings of 1


@pytest.mark.parametrize("spec", ["ve", "flow"])
def test_other_priors_are_the_noise_of_the_level(spec):
    """VE and flow have no stationary law: sampling starts from the noise of the level itself."""
    sde = SDES.get(spec)
    assert [sde.prior(t)[0][0] for t in (0.2, 1.0)] == [sde.level(t).sigma for t in (0.2, 1.0)]


def test_processes_are_values(sde):
    """Equal options make equal, hashable processes: plans and caches may use them as keys."""
    again = SDES.get(SDES.spec(sde))
    assert again == sde
    assert hash(again) == hash(sde)
