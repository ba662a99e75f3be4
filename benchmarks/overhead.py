"""What a step costs beside its arithmetic: (1, 3, 8, 8), against diffusers' schedulers."""

from __future__ import annotations

import pytest

from .paired import Slope
from .samplers import SOLVERS, Constant, between_calls, ours, prepared, theirs

TINY = (1, 3, 8, 8)
BARS = {"least": 12.0, "most": 12e-6}


def slope(run):
    net = Constant(*TINY)
    return Slope(lambda calls: run(net, calls))


@pytest.mark.parametrize("solver", SOLVERS)
def test_whole_step(versus, solver):
    """The slope of whole runs of sample; the warm-up has planned, and the plan is remembered."""
    pytest.importorskip("diffusers")
    mine, other = (slope(side(solver, TINY)) for side in (ours, theirs))
    versus(f"{SOLVERS[solver]}, (1, 3, 8, 8): a step more", "diffusers", mine, other, **BARS, note="plan remembered")


def test_whole_step_with_calls_given(versus):
    """A user of diffusers counts calls; sample finds the steps for them by planning, once."""
    pytest.importorskip("diffusers")
    mine, other = slope(ours("ddim", TINY, given="calls")), slope(theirs("ddim", TINY))
    versus("DDIM, (1, 3, 8, 8): a step more, calls given", "diffusers", mine, other, note="plan remembered")


@pytest.mark.parametrize("solver", SOLVERS)
def test_step_of_a_sampler(versus, solver):
    """The same with the plan made once, as one makes it to sample many times."""
    pytest.importorskip("diffusers")
    mine, other = (slope(side(solver, TINY)) for side in (prepared, theirs))
    versus(f"{SOLVERS[solver]}, (1, 3, 8, 8): a step more of a Sampler", "diffusers", mine, other, **BARS)


@pytest.mark.parametrize("solver", SOLVERS)
def test_between_calls(versus, solver):
    pytest.importorskip("diffusers")
    mine, other = (between_calls(side(solver, TINY), 250, TINY) for side in (ours, theirs))
    versus(f"{SOLVERS[solver]}, (1, 3, 8, 8): between calls", "diffusers", mine, other, **BARS)
