"""The update of a step on images of (16, 3, 256, 256), against diffusers' schedulers."""

from __future__ import annotations

import pytest

from .paired import Timed
from .samplers import MULTISTEP, SOLVERS, Constant, between_calls, ours, tensors_moved, theirs

IMAGES, SMALL, CALLS = (16, 3, 256, 256), (2, 3, 5, 7), 10
BARS = {"ddpm": 8.0, "ddim": 12.0, "dpmpp_2m": 20.0, "dpmpp_2m_sde": 20.0, "unipc:order=2": 30.0}


def a_step(run):
    """A clock: seconds of a whole run of CALLS calls, divided by them."""
    net = Constant(*IMAGES)
    clock = Timed(lambda: run(net, CALLS))
    return lambda: clock() / CALLS


@pytest.mark.parametrize("solver", SOLVERS)
def test_whole_run(versus, solver):
    pytest.importorskip("diffusers")
    case = f"{SOLVERS[solver]}, (16, 3, 256, 256): a run of {CALLS} calls / {CALLS}"
    mine, other = (a_step(side(solver, IMAGES)) for side in (ours, theirs))
    versus(case, "diffusers", mine, other, least=BARS[solver], note="set-up and prior included")


@pytest.mark.parametrize("solver", [*SOLVERS, *MULTISTEP])
def test_steps_alone(versus, solver):
    pytest.importorskip("diffusers")
    mine, other = (between_calls(side(solver, IMAGES), CALLS, IMAGES) for side in (ours, theirs))
    counts = [tensors_moved(side(solver, SMALL), SMALL) for side in (ours, theirs)]
    note = "tensors read and written: ours {:g}, theirs {:g}".format(*counts)
    case = f"{(SOLVERS | MULTISTEP)[solver]}, (16, 3, 256, 256): between calls"
    versus(case, "diffusers", mine, other, least=BARS.get(solver), note=note)
