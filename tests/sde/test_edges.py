"""Where a process ends: times outside its range, options that make none, and the ends where a formula is infinite."""

import math
import warnings

import pytest

from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.registry import SDES
from torchdiff.sde import Flow, ScalarSDE

METHODS = ("level", "drift", "noise", "prior")


@pytest.mark.parametrize("bad", [-1e-9, -1.0, 150.0, math.nan, math.inf, -math.inf])
def test_times_outside_are_named(sde, bad):
    """A time outside [0, t_max] or nan raises OptionError with the value, from every method that takes one."""
    calls = [lambda name=name: getattr(sde, name)(bad) for name in METHODS]
    for call in [*calls, lambda: sde.transition(bad, 0.5), lambda: sde.transition(0.0, bad)]:
        with pytest.raises(OptionError) as error:
            call()
        assert repr(bad) in str(error.value)


def test_reversed_spans_are_named(sde):
    """A transition that goes back in time raises OptionError with both times."""
    with pytest.raises(OptionError, match=r"0\.5.*0\.25"):
        sde.transition(0.5, 0.25)


@pytest.mark.parametrize("option", ["t_min=-1", "t_min=80", "t_max=0", "t_min=nan", "t_max=nan", "t_max=inf"])
@pytest.mark.parametrize("name", ["vp", "sub_vp", "cosine", "ddpm", "ve", "edm", "flow", "cld"])
def test_ranges_that_are_none_are_refused(name, option):
    """0 <= t_min < t_max < infinity, or OptionError."""
    with pytest.raises(OptionError):
        SDES.get(f"{name}:{option}")


@pytest.mark.parametrize(
    "spec",
    [
        *("vp:beta_0=0", "vp:beta_0=-1", "vp:beta_0=30", "vp:beta_0=nan", "vp:beta_1=nan", "vp:beta_1=inf"),
        *("ve:sigma_min=0", "ve:sigma_min=50", "ve:sigma_min=nan", "ve:sigma_max=inf", "ve:sigma_max=0.001"),
        *("cld:mass=0", "cld:mass=nan", "cld:mass=inf", "cld:gamma=-0.1", "cld:gamma=nan", "cld:beta=0"),
        *("cld:beta=nan", "cld:slope=-4", "cld:slope=nan", "cld:beta=1,slope=-2", "flow:t_max=1.5"),
        *("sub_vp:beta_0=0", "sub_vp:beta_0=30", "cosine:s=-0.1", "cosine:t_max=1.1", "cosine:s=nan", "ddpm:t_max=1.1"),
        *("ddpm:schedule=square", "ddpm:count=3", "ddpm:beta_end=1", "ddpm:beta_start=0", "ddpm:betas=0.1 0.2 0.3"),
        *("ddpm:betas=0.1 0.2 x 0.3", "ddpm:betas=0.1 0.2 1 0.3", "ddpm:betas=0.1 0.9 0.001 0.9 0.001 0.9"),
    ],
)
def test_options_that_make_no_process_are_refused(spec):
    """A beta, sigma, mass or gamma without meaning raises OptionError when the process is made, not when it is used."""
    with pytest.raises(OptionError, match=spec.partition(":")[0]):
        SDES.get(spec)


@pytest.mark.parametrize("method", ["drift", "noise"])
def test_flow_has_no_drift_at_its_end(method):
    """At t = 1, where alpha = 0, F and G are infinite: a named error, while the level and its rates are finite."""
    for call in (getattr(Flow(), method), getattr(ScalarSDE, method).__get__(Flow())):
        with pytest.raises(IncompatibleError, match="alpha = 0"):
            call(1.0)
    assert Flow().level(1.0)[:3] == (1.0, 0.0, 1.0)
    assert Flow().rates(1.0) == (-1.0, 1.0)


def test_flow_has_no_transition_from_its_end():
    """No transition starts at alpha = 0, where nothing is known of x0: a named error. One may end there."""
    for transition in (Flow().transition, ScalarSDE.transition.__get__(Flow())):
        with pytest.raises(IncompatibleError, match="alpha = 0"):
            transition(1.0, 1.0)
        mean, factor = transition(0.5, 1.0)
        assert (mean[0][0], factor[0][0]) == (0.0, 1.0)


def test_log_snr_never_takes_the_logarithm_of_zero():
    """half_log_snr is +inf at sigma = 0 and -inf at alpha = 0, without a warning; of blocks, a named error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Flow().level(0.0).half_log_snr == math.inf
        assert SDES.get("vp").level(0.0).half_log_snr == math.inf
        assert Flow().level(1.0).half_log_snr == -math.inf
    with pytest.raises(IncompatibleError, match="2 blocks"):
        SDES.get("cld").level(0.5).half_log_snr
