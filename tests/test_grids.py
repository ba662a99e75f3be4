"""Grids go from one given end to the other, in equal steps of their coordinate."""

import itertools
import math

import pytest

from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.grids import Karras, LogSNR, Quadratic, Uniform, default_grid
from torchdiff.registry import GRIDS, SDES
from torchdiff.sde import CLD, VE, VP, Flow, ScalarSDE

OURS = [name for name in GRIDS.names() if type(GRIDS.get(name)).__module__.startswith("torchdiff.")]
# sigma from 0.002 to 80 by rho = 7: the ten values that the formula gives in float64
KARRAS_TABLE = (80, 42.41518931851267, 21.10867673619376, 9.723201355260132, 4.066123602953759, 1.501741979068008)
KARRAS_TABLE += (0.46997905799774714, 0.1166385635251784, 0.020435334553438746, 0.002)


def ranges():
    """(sde, t_max, t_min): the defaults, ends in between that are no round numbers, and the flow up to alpha = 0."""
    for name in ("vp", "ve", "cld", "flow"):
        sde = SDES.get(name)
        yield sde, sde.t_max, sde.t_min
        yield sde, 0.7 + 0.1, 1.0 / 30.0
        yield sde, 1.0, 1e-9


def fitting(name):
    """The ranges of `ranges` at whose ends the grid's coordinate is finite."""
    for sde, t_max, t_min in ranges():
        levels = [sde.level(t) for t in (t_max, t_min)]
        if name not in ("log_snr", "karras") or (
            isinstance(sde, ScalarSDE) and all(math.isfinite(level.half_log_snr) for level in levels)
        ):
            yield sde, t_max, t_min


@pytest.mark.parametrize("name", OURS)
def test_grids_keep_their_ends_and_fall(name):
    """steps + 1 times, strictly decreasing; the ends are the given floats bit for bit, one step is just the ends."""
    cases = list(fitting(name))
    assert cases
    for sde, t_max, t_min in cases:
        for steps in (1, 2, 3, 10, 137, 1000):
            times = GRIDS.get(name).times(sde, steps, t_max, t_min)
            assert len(times) == steps + 1
            assert (times[0], times[-1]) == (t_max, t_min)
            assert all(math.isfinite(t) for t in times)
            assert all(b < a for a, b in itertools.pairwise(times))


@pytest.mark.parametrize("name", OURS)
def test_grids_of_1e5_steps_still_fall(name):
    """1e5 steps on VP: no two times are equal and none is out of order."""
    times = GRIDS.get(name).times(VP(), 10**5, 1.0, 1e-3)
    assert all(b < a for a, b in itertools.pairwise(times))


COORDINATES = {
    "uniform": lambda sde, t: t,
    "quadratic": lambda sde, t: math.sqrt(t),
    "log_snr": lambda sde, t: sde.level(t).half_log_snr,
    "karras": lambda sde, t: (sde.level(t).sigma / sde.level(t).alpha) ** (1 / 7),
}


@pytest.mark.parametrize("name", OURS)
def test_steps_are_equal_in_the_grids_coordinate(name):
    """t, sqrt(t), log(alpha / sigma) and (sigma / alpha)^(1 / 7) advance by equal amounts, each from end to end."""
    for sde, t_max, t_min in fitting(name):
        start, end = (COORDINATES[name](sde, t) for t in (t_max, t_min))
        times = GRIDS.get(name).times(sde, 12, t_max, t_min)
        for i, t in enumerate(times):
            wanted = start + (end - start) * i / 12
            # there and back through at() and level(): a few roundings of the coordinate, measured 6e-16
            assert abs(COORDINATES[name](sde, t) - wanted) <= 1e-14 * abs(end - start)


def test_karras_is_the_table():
    """With sigma / alpha from 0.002 to 80, ten points of rho = 7 are the published ones."""
    sde = VE(sigma_min=0.002, sigma_max=80.0, t_min=0.0)
    times = Karras().times(sde, 9, 1.0, 0.0)
    # sigma = exp(growth t): an ulp of t is growth * eps = 2e-15 of sigma
    assert [sde.level(t).sigma for t in times] == pytest.approx(list(KARRAS_TABLE), rel=1e-12, abs=0)


def test_karras_depends_on_sigma_over_alpha_only():
    """VP and VE visit the same sigma / alpha between the same ends: the grid is one of noise levels, not of times."""
    vp, ve = VP(), VE()
    high, low = vp.level(0.7).half_log_snr, vp.level(0.01).half_log_snr  # sigma / alpha from 11.8 to 0.045
    for grid in (Karras(), Karras(rho=3.0), LogSNR()):
        first = grid.times(vp, 20, vp.at(high).t, vp.at(low).t)
        second = grid.times(ve, 20, ve.at(high).t, ve.at(low).t)
        for t, u in zip(first, second, strict=True):
            assert vp.level(t).half_log_snr == pytest.approx(ve.level(u).half_log_snr, abs=1e-12)


@pytest.mark.parametrize("name", ["karras", "log_snr"])
@pytest.mark.parametrize(
    ("sde", "t_max", "t_min", "way_out"),
    [
        (CLD(), 1.0, 1e-3, "uniform or quadratic"),
        (Flow(), 1.0, 0.01, "t_max=0.999"),
        (Flow(), 0.9, 0.0, "t_min=0.001"),
        (VP(), 1.0, 0.0, "t_min=0.001"),
    ],
    ids=repr,
)
def test_grids_without_a_log_snr_are_named(name, sde, t_max, t_min, way_out):
    """Blocks, or an end where the log-SNR is infinite: IncompatibleError with the grid, the process and the way out."""
    with pytest.raises(IncompatibleError) as error:
        GRIDS.get(name).times(sde, 10, t_max, t_min)
    assert all(part in str(error.value) for part in (name, repr(sde), way_out))


@pytest.mark.parametrize("rho", [0.0, -7.0, math.nan, math.inf])
def test_karras_refuses_a_rho_that_is_none(rho):
    """rho must be positive and finite."""
    with pytest.raises(OptionError, match=f"rho must be positive, got {rho!r}"):
        Karras(rho=rho)


def test_the_default_is_log_snr_where_it_is_finite():
    """log_snr where both ends have a finite log-SNR, uniform for blocks and where alpha or sigma is 0."""
    cases = {
        (VP(), 1.0, 1e-3): LogSNR(),
        (VP(), 1.0, 0.0): Uniform(),
        (VE(), 1.0, 0.0): LogSNR(),
        (Flow(), 1.0, 0.0): Uniform(),
        (Flow(), 1.0, 0.1): Uniform(),
        (Flow(), 0.99, 0.01): LogSNR(),
        (CLD(), 1.0, 1e-3): Uniform(),
    }
    assert {case: default_grid(*case) for case in cases} == cases


def test_quadratic_reaches_the_data():
    """t_min = 0 is an end like any other for the grids in t: quadratic times are (1 - i / steps)^2."""
    times = Quadratic().times(Flow(), 4, 1.0, 0.0)
    assert times == (1.0, 0.5625, 0.25, 0.0625, 0.0)
