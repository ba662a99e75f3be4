"""What makes a process a process, for every registered one: kernels compose, and marginals obey F and G."""

import numpy as np
import pytest

from torchdiff.registry import SDES
from torchdiff.testing.sde_laws import compose, from_data, kernel, matrix, moments, short

EPS = 2.0**-52
STILL = ("vp", "vp:beta_0=0.2,beta_1=15", "cld", "cld:beta=0.1,slope=6.9", "cld:mass=1,beta=1")


def test_transitions_compose(sde):
    """kernel(t -> u) after kernel(s -> t) is kernel(s -> u).

    1e-12: a few dozen roundings of exponentials whose arguments reach 10 (B of VP at t = 1), so 1e-14 and a margin.
    """
    assert compose(sde).error <= 1e-12, compose(sde)


def test_transition_from_the_data_gives_the_marginal(sde):
    """The kernel 0 -> t carries level(0), floor or spread-out velocity and all, to level(t). 1e-12 as above."""
    assert from_data(sde).error <= 1e-12, from_data(sde)


def test_drift_and_noise_match_the_marginals(sde):
    """d alpha/dt = F alpha and d cov/dt = F cov + cov F^T + G G^T.

    1e-11: the numeric derivative is good to 1e-13, with two digits to spare.
    """
    assert moments(sde).error <= 1e-11, moments(sde)


@pytest.mark.parametrize("span", [1e-5, 1e-7, 1e-9, 1e-12])
def test_short_spans_keep_their_digits(sde, span):
    """The covariance over a short span is the integral of E G G^T E^T, in every entry and to relative accuracy.

    64 ulp: a dozen roundings in the factor, as many in the integrand, and the sum of eight terms.
    """
    assert short(sde, span).error <= 64 * EPS, short(sde, span)


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
