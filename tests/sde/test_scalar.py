"""One-block processes: the inverse `at`, the rates, and the generic formulas of the base class against closed forms."""

import math

import numpy as np
import pytest

from torchdiff.errors import OptionError
from torchdiff.sde import VE, VP, Flow, ScalarSDE
from torchdiff.testing.sde_laws import inverse, rates

EPS = 2.0**-52


@pytest.mark.parametrize("method", [None, ScalarSDE.at], ids=["own", "bisection"])
def test_at_inverts_half_log_snr(scalar, method):
    """at(level(t).half_log_snr) is level(t), by the closed form and by the bisection of the base class.

    The number half_log_snr carries t only to eps |half_log_snr| / |slope|, the unit of the law's error in t (measured
    1.1 eps). 1e-14: alpha and sigma (measured 2e-15, by bisection 4e-15).
    """
    at = None if method is None else method.__get__(scalar)
    assert inverse(scalar, at).error <= 1e-14, inverse(scalar, at)


def test_at_reaches_the_ends(scalar):
    """The log-SNR of t_max comes back as a level inside [0, t_max], whatever rounding did to it."""
    level = scalar.level(scalar.t_max)
    found = scalar.at(level.half_log_snr)
    assert found.t <= scalar.t_max
    assert found.t == pytest.approx(scalar.t_max, rel=1e-14)
    assert (found.alpha, found.sigma) == pytest.approx((level.alpha, level.sigma), rel=1e-13, abs=0)


def test_rounding_never_leaves_the_range():
    """at() of the log-SNR of t_max, and of VE's at 0, is in [0, t_max]: level() must not refuse it afterwards."""
    for k in range(300):
        for sde in (VP(beta_1=1 + 0.1 * k), VE(sigma_max=1 + k), VE(sigma_min=0.001 * (1 + k)), Flow(t_max=0.999**k)):
            for t in (sde.t_max, 0.0):
                value = sde.level(t).half_log_snr
                if math.isfinite(value):
                    assert 0.0 <= sde.at(value).t <= sde.t_max


@pytest.mark.parametrize("method", [None, ScalarSDE.at], ids=["own", "bisection"])
def test_at_refuses_what_no_time_has(scalar, method):
    """A log-SNR below that of t_max, above that of 0, or nan is an OptionError that names it, never an overflow."""
    at = scalar.at if method is None else method.__get__(scalar)
    low, high = scalar.level(scalar.t_max).half_log_snr, scalar.level(0.0).half_log_snr
    bad = [math.nan]
    bad += [low - 0.01, low - 400.0, -math.inf] if low > -math.inf else []
    bad += [high + 0.01, high + 800.0, math.inf] if high < math.inf else []
    for value in bad:
        with pytest.raises(OptionError) as error:
            at(value)
        assert repr(value) in str(error.value)


@pytest.mark.parametrize("sde", [VP(), VP(beta_1=2000.0), Flow()], ids=repr)
def test_at_is_exact_where_one_side_is_tiny(sde):
    """Far out, alpha and sigma are e^h / sqrt(..) of the process, without overflow: 300 is a signal of 1e-130."""
    for value in (300.0, 40.0, *((-40.0, -300.0, -499.0) if sde.level(1.0).half_log_snr < -499 else ())):
        level = sde.at(value)
        if isinstance(sde, VP):
            assert math.hypot(level.alpha, level.sigma) == pytest.approx(1.0, rel=2 * EPS)
        else:
            assert level.alpha + level.sigma == pytest.approx(1.0, rel=2 * EPS)
        small, large = sorted((level.alpha, level.sigma))
        # exp(-|h|) is off by half an ulp of h, which is |h| eps / 2 in the exponent
        assert small / large == pytest.approx(math.exp(-abs(value)), rel=EPS * (4 + abs(value)), abs=0)
        assert 0.0 <= level.t <= sde.t_max


def test_rates_are_the_derivatives(scalar):
    """rates(t) is (alpha', sigma'). 1e-11: the numeric derivative is good to 1e-13, with two digits to spare."""
    assert rates(scalar).error <= 1e-11, rates(scalar)


def test_generic_formulas_are_the_closed_forms(scalar):
    """Drift, noise and transition of the base class, from alpha, sigma and rates alone, equal each override."""
    for t in (1e-4, 0.01, 0.2, 0.5, 0.98):
        for name in ("drift", "noise"):
            generic, own = getattr(ScalarSDE, name)(scalar, t), getattr(scalar, name)(t)
            assert generic[0][0] == pytest.approx(own[0][0], rel=1e-13, abs=0)  # measured 2e-15
    for start, end in ((0.0, 0.3), (1e-4, 0.01), (0.1, 0.101), (0.2, 0.7), (0.5, 0.98)):
        generic, own = ScalarSDE.transition(scalar, start, end), scalar.transition(start, end)
        rise = 2 * (scalar.level(end).half_log_snr - scalar.level(start).half_log_snr)
        scale = 1 + abs(scalar.level(end).half_log_snr)
        # the generic variance needs the difference of two log-SNRs, each good to an ulp
        rel = 1e-13 + 4 * EPS * scale / abs(rise)
        np.testing.assert_allclose(generic, own, rtol=rel, atol=0)
    assert ScalarSDE.transition(scalar, 0.3, 0.3) == scalar.transition(0.3, 0.3)


@pytest.mark.parametrize("t", [0.0, 0.3])
def test_the_log_snr_of_ve_ends_at_its_floor(t):
    """VE keeps sigma_min at t = 0: its log-SNR is finite there, and at() starts at exactly that value."""
    sde = VE()
    assert sde.at(sde.level(t).half_log_snr).t == pytest.approx(t, abs=1e-15)
    assert sde.at(-math.log(sde.sigma_min)).t == 0.0
