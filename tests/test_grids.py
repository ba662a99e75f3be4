"""Grids go from one given end to the other and fall; each does what its coordinate or its source says."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

import torchdiff
from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.grids import Grid, LogSNR, Uniform, default_grid
from torchdiff.grids.ays import TABLES
from torchdiff.registry import GRIDS, SDES
from torchdiff.sde import CLD, EDM, VE, VP, DiscreteVP, Flow, ScalarSDE

OURS = [
    name
    for name in GRIDS.names()
    if type(GRIDS.get(name)).__module__.startswith("torchdiff.") and name != "optimal"  # computed for a solver
]
VARIANTS = (
    *("karras:rho=3.0", "polyexponential:rho=2.0", "beta:alpha=1.5,beta=0.4", "laplace:mu=-1.0,beta=0.3"),
    *("shift:shift=0.5", "resolution_shift:tokens=1024", "linear_quadratic:threshold=0.11,linear_steps=1"),
    *("ays:model=svd", "linspace:count=50", "leading:offset=1", "trailing:count=5000"),
)
SPECS = (*OURS, *VARIANTS)
INDICES = ("linspace", "trailing", "leading")
ANY_BLOCKS = ("uniform", "quadratic", "beta", *INDICES)
ANY_LEVELS = (*ANY_BLOCKS, "laplace", "shift", "resolution_shift", "linear_quadratic")


def ratio(sde, t):
    level = sde.level(t)
    return level.sigma / level.alpha if level.alpha > 0.0 else math.inf


def refusal(spec, sde, steps, t_max, t_min):
    """The error that a grid owes for these words, None where it owes times."""
    name, grid = spec.partition(":")[0], GRIDS.get(spec)
    if name not in ANY_BLOCKS and not isinstance(sde, ScalarSDE):
        return IncompatibleError
    if name not in ANY_LEVELS and not 0.0 < ratio(sde, t_min) < ratio(sde, t_max) < math.inf:
        return IncompatibleError
    if name == "ays" and not ratio(sde, t_min) < TABLES[grid.model][-2] < TABLES[grid.model][1] < ratio(sde, t_max):
        return IncompatibleError
    if name == "linear_quadratic" and steps > 1:
        # the parabola starts with the line's slope and must not turn round before its end: its mean slope is half of
        # that at least, (1 - threshold) / (steps - linear) > threshold / linear / 2
        linear = grid.linear_steps or steps // 2
        return None if grid.threshold * (steps + linear) < 2.0 * linear else OptionError
    if name in INDICES:
        count = grid.count or getattr(sde, "count", 1000)
        apart = (t_max - t_min) / (1.0 if isinstance(sde, DiscreteVP) else sde.t_max) * count
        assume(abs(apart - steps) > 1e-6)
        fits = count // (steps + 1) >= 1 and steps * (count // (steps + 1)) + getattr(grid, "offset", 0) < count
        return None if apart > steps and (name != "leading" or fits) else OptionError
    return None


@settings(max_examples=400, deadline=None)
@given(
    spec=st.sampled_from(SPECS),
    sde=st.sampled_from([SDES.get(name) for name in ("vp", "sub_vp", "cosine", "ddpm", "ve", "edm", "flow", "cld")]),
    steps=st.integers(1, 50) | st.just(1000),
    # ends closer than 1e-2 have no room for 1000 floats in every coordinate, those below 1e-6 none for their squares
    ends=st.tuples(st.just(0.0) | st.floats(1e-6, 0.98), st.floats(0.01, 1.0 - 1e-6) | st.just(1.0)).filter(
        lambda ends: ends[1] - ends[0] >= 0.01
    ),
)
def test_grids_keep_their_ends_and_fall(spec, sde, steps, ends):
    """steps + 1 times, strictly decreasing; the ends are the given floats bit for bit. Or the refusal that is owed."""
    t_min, t_max = (end * sde.t_max for end in ends)
    error = refusal(spec, sde, steps, t_max, t_min)
    if error is not None:
        with pytest.raises(error):
            GRIDS.get(spec).times(sde, steps, t_max, t_min)
        return
    times = GRIDS.get(spec).times(sde, steps, t_max, t_min)
    assert len(times) == steps + 1
    assert (times[0], times[-1]) == (t_max, t_min)
    assert all(b < a for a, b in itertools.pairwise(times))


@pytest.mark.parametrize("name", OURS)
def test_every_grid_runs_where_it_may(name):
    """10 steps by default, on every SDE with a log-SNR; the control of the law above, which may be refused all over."""
    for sde in map(SDES.get, ("vp", "sub_vp", "cosine", "ddpm:schedule=scaled_linear", "ve", "edm")):
        assert len(GRIDS.get(name).times(sde, 10)) == 11


@pytest.mark.parametrize("name", [name for name in OURS if name not in INDICES])
def test_grids_of_1e5_steps_still_fall(name):
    """1e5 steps on VP: no two times are equal and none is out of order."""
    times = GRIDS.get(name).times(VP(), 10**5, 1.0, 1e-3)
    assert all(b < a for a, b in itertools.pairwise(times))


# (spec, the coordinate that advances in equal amounts) of a time between t_max and t_min; r = sigma / alpha
COORDINATES = {
    "uniform": lambda sde, t, high, low: t,
    "quadratic": lambda sde, t, high, low: math.sqrt(t),
    "log_snr": lambda sde, t, high, low: sde.level(t).half_log_snr,
    "exponential": lambda sde, t, high, low: math.log(ratio(sde, t)),
    "karras": lambda sde, t, high, low: ratio(sde, t) ** (1 / 7),
    "polyexponential:rho=2.0": lambda sde, t, high, low: math.sqrt(abs(math.log(ratio(sde, t) / ratio(sde, low)))),
    "beta": lambda sde, t, high, low: stats.beta.cdf((t - low) / (high - low), 0.6, 0.6),
    "beta:alpha=1.5,beta=0.4": lambda sde, t, high, low: stats.beta.sf((high - t) / (high - low), 0.4, 1.5),
    "beta_sigma": lambda sde, t, high, low: stats.beta.cdf(
        (ratio(sde, t) - ratio(sde, low)) / (ratio(sde, high) - ratio(sde, low)), 0.6, 0.6
    ),
    "laplace:mu=-1.0,beta=0.3": lambda sde, t, high, low: stats.laplace.cdf(math.log(ratio(sde, t)), -1.0, 0.3),
    "shift": lambda sde, t, high, low: sde.sigma(t) / (sde.sigma(t) + 3.0 * sde.alpha(t)),
    "resolution_shift": lambda sde, t, high, low: sde.sigma(t) / (sde.sigma(t) + math.exp(1.15) * sde.alpha(t)),
    "resolution_shift:tokens=2176": lambda sde, t, high, low: (
        sde.sigma(t) / (sde.sigma(t) + math.exp((0.5 + 1.15) / 2) * sde.alpha(t))  # 2176 is half of the way from 256
    ),
}


@pytest.mark.parametrize("spec", COORDINATES)
def test_steps_are_equal_in_the_grids_coordinate(spec):
    """From end to end the coordinate advances by equal amounts: the distributions' are SciPy's cumulative ones."""
    for sde in map(SDES.get, ("vp", "ddpm", "cosine", "ve", "edm", "flow:t_min=0.02,t_max=0.98")):
        times = GRIDS.get(spec).times(sde, 12)
        places = [COORDINATES[spec](sde, t, times[0], times[-1]) for t in times]
        # there and back through at() and level(): 2e-15 at most, but for the steep cumulative beta in sigma (3e-14)
        close = 1e-13 * abs(places[0] - places[-1])
        assert places == pytest.approx(np.linspace(places[0], places[-1], 13), rel=0, abs=close)


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("exponential", "log_snr", 0.0),
        ("polyexponential", "log_snr", 1e-13),  # from the other end: an ulp of log(sigma / alpha) = 10
        ("resolution_shift:tokens=256", f"shift:shift={math.exp(0.5)!r}", 0.0),
        ("beta:alpha=1,beta=1", "uniform", 1e-15),
        ("shift:shift=1", "uniform", 1e-15),  # on the flow, whose t is sigma / (sigma + alpha)
        ("linear_quadratic:threshold=0.5", "uniform", 1e-15),  # half of the way in half of the steps
    ],
)
def test_grids_that_are_one(one, other, apart):
    """Different names and options of one formula: bit for bit, or to the rounding of a logarithm and its inverse."""
    for sde in (Flow(t_min=0.02, t_max=0.98), Flow()) if apart == 1e-15 else (VP(), EDM()):
        first, second = (GRIDS.get(spec).times(sde, 20, sde.t_max, sde.t_min) for spec in (one, other))
        assert first == pytest.approx(second, rel=0, abs=apart)


def test_grids_of_noise_levels_depend_on_sigma_over_alpha_only():
    """VP and VE visit the same sigma / alpha between the same ends: the grid is one of noise levels, not of times."""
    vp, ve = VP(), VE()
    high, low = vp.level(0.85).half_log_snr, vp.level(0.002).half_log_snr  # sigma / alpha from 39 to 0.016
    for spec in (spec for spec in SPECS if spec.partition(":")[0] not in ANY_BLOCKS and spec not in ("ays:model=svd",)):
        first = GRIDS.get(spec).times(vp, 15, vp.at(high).t, vp.at(low).t)
        second = GRIDS.get(spec).times(ve, 15, ve.at(high).t, ve.at(low).t)
        for t, u in zip(first, second, strict=True):
            assert vp.level(t).half_log_snr == pytest.approx(ve.level(u).half_log_snr, abs=1e-12)


@pytest.mark.parametrize("name", sorted({*OURS} - {*ANY_LEVELS, "ays"}))
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


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("karras:rho=0", "karras: rho must be positive, got 0.0"),
        ("karras:rho=-7", "karras: rho must be positive, got -7.0"),
        ("shift:shift=-1", "shift must be positive, got -1.0"),
        ("laplace:beta=0", "beta must be positive, got 0.0"),
        ("beta:alpha=0", "alpha must be positive, got 0.0"),
        ("beta_sigma:beta=-0.6", "beta must be positive, got -0.6"),
        ("polyexponential:rho=0", "rho must be positive, got 0.0"),
        ("resolution_shift:tokens=0", "tokens must be positive, got 0"),
        ("resolution_shift:max_tokens=256", "must differ, both are 256"),
        ("resolution_shift:max_shift=9000", "a shift of exp"),
        ("linear_quadratic:threshold=1", "between 0 and 1, got 1.0"),
        ("linear_quadratic:linear_steps=0", "1 or more, got 0"),
        ("leading:offset=-1", "0 or more, got -1"),
        ("linspace:count=0", "number of training times, got 0"),
        ("ays:model=sd3", "one of sd15, sdxl, deepfloyd, svd, got 'sd3'"),
    ],
)
def test_options_without_meaning_are_refused(spec, message):
    """OptionError with what came and what was expected, before any time is asked for."""
    with pytest.raises(OptionError, match=message):
        GRIDS.get(spec)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    "option", ["karras.rho", "shift.shift", "beta.alpha", "laplace.mu", "resolution_shift.base_shift"]
)
def test_no_option_is_nan_or_infinite(option, value):
    """Objects that are built without a spec too."""
    name, _, field = option.partition(".")
    with pytest.raises(OptionError, match="positive|finite|no number"):
        GRIDS.find(name)(**{field: value})


@dataclass(frozen=True)
class Standing(Grid):
    """A grid of somebody's own that does not move."""

    def inside(self, sde, steps, t_max, t_min):
        return [t_max / 2] * (steps - 1)


@pytest.mark.parametrize(
    ("grid", "words", "message"),
    [
        ("uniform", (VP(), 5, 0.5, 0.5), "t_max = 0.5, t_min = 0.5"),
        ("karras", (VP(), 5, 0.2, 0.5), "t_max = 0.2, t_min = 0.5"),
        ("uniform", (VP(), 5, math.nan, 0.5), "nan is outside"),
        ("shift", (VP(), 5, 0.5, math.nan), "nan is outside"),
        ("uniform", (VP(), 5, 1.5, 0.5), "1.5 is outside"),
        ("uniform", (VP(), 0), "steps of a grid must be a positive whole number, got 0"),
        ("uniform", (VP(), 2.0), "steps of a grid must be a positive whole number, got 2.0"),
        ("uniform", (VP(), True), "steps of a grid must be a positive whole number, got True"),
        ("uniform", (VP(), 5, math.nextafter(0.5, 1), 0.5), r"times\[1\] = 0.5"),
        (Standing(), (VP(), 3), r"Standing.*3 steps.*times\[1\] = 0.5, times\[2\] = 0.5; take fewer"),
        ("karras:rho=0.001", (VP(), 5), "overflows at rho = 0.001"),
        ("laplace:mu=99999", (VP(), 5), "one quantile to a float at mu = 99999.0"),
        ("linear_quadratic:linear_steps=5", (VP(), 5), "linear_steps = 5 leave none of 5 steps"),
        ("linear_quadratic:threshold=0.9", (VP(), 5), "take a lower threshold"),
        ("ays:model=svd", (DiscreteVP("scaled_linear"), 5), "through sigma / alpha from 54.5 to 0.034"),
        ("leading:offset=1", (DiscreteVP(), 999), "1000 indices, 1 apart from 1 on, do not fit into a table of 1000"),
        ("linspace", (DiscreteVP(), 1000), "t = 1 and 0.001 are 999 of 1000 indices apart, too few for 1000"),
    ],
)
def test_degenerate_grids_are_refused(grid, words, message):
    """Two equal times, reversed ones, nan, no steps, more steps than floats or indices: one sentence with the place."""
    with pytest.raises(ValueError, match=message):
        GRIDS.get(grid).times(*words)


def test_one_step_is_the_two_ends():
    """For every grid; of those in indices, by the ends that they have by themselves."""
    own = {"leading": (0.501, 0.001), "linspace": (1.0, 0.001), "trailing": (1.0, 0.0)}
    for name in OURS:
        assert GRIDS.get(name).times(DiscreteVP(), 1) == own.get(name, (1.0, 1e-3))


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


def test_a_plan_takes_the_ends_of_its_grid():
    """trailing ends at the data with its last step, leading starts below t_max; a given t_max is the first time."""
    plan = torchdiff.plan("ddpm", "ddim", grid="trailing", calls=10)
    assert (plan.steps, plan.calls, plan.grid[-1].t) == (10, 10, 0.0)
    plan = torchdiff.plan("ddpm", "ddim", grid="leading:offset=1", calls=10)
    assert (plan.steps, plan.calls, plan.grid[0].t, plan.grid[-2].t) == (9, 10, 0.902, 0.002)
    plan = torchdiff.plan("ddpm", "ddim", grid="leading", steps=9, t_max=0.9995, t_min=0.002, final="t_min")
    assert (plan.grid[0].t, plan.grid[-1].t) == (0.9995, 0.002)
