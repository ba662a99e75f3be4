"""`sigmas`: the user's own noise levels are the levels of the run."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from instances import field

import torchdiff
from torchdiff.cli import main
from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.grids import times_of
from torchdiff.registry import SDES

# sigma / alpha that every process here has at some time
SIGMAS = [9.0, 3.5, 1.0, 0.31, 0.05]


@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.floats(1e-7, 80.0), min_size=2, max_size=12, unique=True))
def test_edm_has_the_sigmas_bit_for_bit(values):
    """t of EDM is sigma: exp(log(sigma)) is not what comes out, the value that went in is."""
    falling = sorted(values, reverse=True)
    assert times_of(SDES.get("edm"), falling) == (tuple(falling), False)


@pytest.mark.parametrize("name", ["vp", "sub_vp", "cosine", "ddpm", "ve", "flow", "edm"])
def test_levels_are_the_sigmas(name):
    """sigma / alpha of the plan's grid are the values, and no float beside the time has a nearer one."""
    plan = torchdiff.plan(name, "ddim", sigmas=SIGMAS, final="t_min", prediction="v")

    def miss(t, value):
        level = plan.sde.level(t)
        return abs(level.sigma / level.alpha - value)

    for level, value in zip(plan.grid, SIGMAS, strict=True):
        # an ulp of t is up to |d log(sigma / alpha) / d log t| ulp of the value, 8.5 on ve, where log 5000 = 8.5
        assert miss(level.t, value) <= 5e-15 * value
        beside = (math.nextafter(level.t, 0.0), math.nextafter(level.t, 1e9))
        # levels are computed to some ulp, so that a nearer float may lie behind a farther one
        assert miss(level.t, value) <= min(miss(t, value) for t in beside)


@pytest.mark.parametrize("name", ["vp", "ve", "edm", "flow"])
def test_a_last_0_is_the_denoising_step(name):
    """The same plan as without it, on processes that have noise at every time too."""
    plan = torchdiff.plan(name, "dpmpp_2m", sigmas=[*SIGMAS, 0], prediction="v")
    assert plan == torchdiff.plan(name, "dpmpp_2m", sigmas=SIGMAS, prediction="v")
    assert (plan.final, plan.calls, plan.grid[-1].sigma) == (True, 5, 0.0)
    with pytest.raises(OptionError, match="a last 0 of sigmas is the data"):
        torchdiff.plan(name, "dpmpp_2m", sigmas=[*SIGMAS, 0], prediction="v", final="t_min")


def test_sigmas_run_both_ways():
    """Rising values encode: the plan of the rising times; an iterator of them is read once."""
    times, _ = times_of(SDES.get("vp"), SIGMAS)
    assert torchdiff.plan("vp", "ddim", sigmas=SIGMAS[::-1]) == torchdiff.plan("vp", "ddim", times=times[::-1])
    options = dict(x=torch.ones(2, 3), prediction="eps", seed=0)
    for order in (1, -1):
        by_times = torchdiff.sample(field, "vp", "ddim", times=times[::order], **options).x
        for given_as in (SIGMAS[::order], iter(SIGMAS[::order]), torch.tensor(SIGMAS[::order], dtype=torch.float64)):
            assert torch.equal(torchdiff.sample(field, "vp", "ddim", sigmas=given_as, **options).x, by_times)


def test_infinite_and_no_noise_are_levels_where_a_process_has_them():
    """inf is alpha = 0, at t = 1 of the flow; nothing else is."""
    assert torchdiff.plan("flow", "ode", sigmas=[math.inf, 1.0, 0.0]).grid[0] == (1.0, 0.0, 1.0)
    with pytest.raises(OptionError, match=r"sigmas\[0\] = inf is no sigma / alpha of VP"):
        torchdiff.plan("vp", "ddim", sigmas=[math.inf, 1.0, 0.0])


@pytest.mark.parametrize(
    ("sde", "words", "error", "message"),
    [
        ("edm", dict(sigmas=[90.0, 1.0]), OptionError, r"sigmas\[0\] = 90.0 .* 0.0 at t = 0 to 80.0 at t = 80; clip"),
        (
            "ve",
            dict(sigmas=[5.0, 1.0, 0.001]),
            OptionError,
            r"sigmas\[2\] = 0.001 is no .* VE.*0.01 at t = 0",
        ),
        ("edm", dict(sigmas=[3.0, 2.0, 2.0]), OptionError, r"sigmas\[1\] = 2.0 and sigmas\[2\] = 2.0"),
        ("edm", dict(sigmas=[3.0, 1.0, 2.0]), OptionError, r"sigmas\[1\] = 1.0 and sigmas\[2\] = 2.0"),
        ("edm", dict(sigmas=[3.0, math.nan, 2.0]), OptionError, r"sigmas\[0\] = 3.0 and sigmas\[1\] = nan"),
        ("edm", dict(sigmas=[3.0, 1.0, -1.0]), OptionError, r"sigmas\[2\] = -1.0 is no sigma"),
        ("edm", dict(sigmas=[3.0, 0.0]), OptionError, "two values above 0 at least, got 1; times may end at t = 0"),
        ("edm", dict(sigmas=[]), OptionError, "got 0"),
        ("edm", dict(sigmas=3.0), OptionError, "sequence of numbers, got 3.0"),
        ("edm", dict(sigmas=["a"]), OptionError, "sequence of numbers, got .'a'."),
        ("edm", dict(sigmas=[0.0, 1.0]), IncompatibleError, "encoding starts where sigma > 0"),
        ("edm", dict(sigmas=[2.0, 1.0], steps=3), OptionError, "got steps, sigmas"),
        ("edm", dict(sigmas=[2.0, 1.0], t_min=0.1), OptionError, "sigmas are the whole grid: t_min = 0.1"),
        ("cld", dict(sigmas=[2.0, 1.0]), IncompatibleError, "2 blocks and no such number; give times"),
    ],
)
def test_sigmas_without_meaning_are_refused(sde, words, error, message):
    """Each with the index, what came and the way out."""
    with pytest.raises(error, match=message):
        torchdiff.plan(sde, "sscs" if sde == "cld" else "ddim", **words)


def test_the_command_line_takes_sigmas(capsys):
    """--sigmas S,S,... is the same plan."""
    assert main(["plan", "edm", "heun", "--sigmas", "80,10,0.5,0", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(torchdiff.plan("edm", "heun", sigmas=[80, 10, 0.5, 0]).to_json())
