"""From alpha = 0 to sigma = 0 on every grid: every weight of every solver is finite, or the refusal is the one owed."""

from __future__ import annotations

import functools

import pytest
from instances import SOLVER_SPECS, fits

import torchdiff
from torchdiff import get_sde, get_solver
from torchdiff.denoiser import Denoiser
from torchdiff.errors import IncompatibleError
from torchdiff.planner import request
from torchdiff.registry import GRIDS

DENOISER = Denoiser(None, "flow")  # the one that says x0 and eps at both ends
# `exponential` is log_snr by another name, bit for bit (tests/test_grids.py)
GRID_SPECS = [
    name
    for name in GRIDS.names()
    if type(GRIDS.get(name)).__module__.startswith("torchdiff.") and name != "exponential"
]
# those that go through log(sigma / alpha) have no end where it is infinite
LOGARITHMIC = ("log_snr", "karras", "polyexponential", "beta_sigma", "ays")
# process and ends. alpha = 0 at the start of the first three, sigma = 0 at the end of the first; rf_ancestral is the
# flow's alone, and takes the second twice
CASES = (
    ("flow", {"t_min": 0.0}),
    ("flow", {"t_min": 0.02, "final": "denoise"}),
    ("ddpm:zero_snr=true", {"final": "t_min"}),
    ("vp", {"final": "denoise"}),
)
SOLVERS = [spec for spec in SOLVER_SPECS if get_solver(spec).affine and fits(spec, "flow")]
SOLVERS += [spec for spec in SOLVER_SPECS if "ald" in spec and ":" in spec]  # a chain whose parts are affine
FEW = (1, 2, 3, 5, 50)


@functools.cache
def wish(grid, case, steps):
    """The levels of a run by any solver; None where the grid owes a refusal, and gives it."""
    sde, ends = CASES[case]
    process = get_sde(sde)
    words = {"t_min": None, "t_max": None, "final": None, "calls": None, "times": None} | ends
    if grid in LOGARITHMIC and process.level(process.t_max).alpha == 0.0:
        with pytest.raises(IncompatibleError, match=f"grid '{grid}' needs a finite log-SNR at both ends.*give t_max"):
            request(process, "ddim", DENOISER, steps=steps, grid=grid, **words)
        return None
    return request(process, "ddim", DENOISER, steps=steps, grid=grid, **words)


def check(solver, grid, case, steps):
    """Whether there was a plan; `trace` raises PlanError for a weight that is not finite."""
    if not fits(solver, CASES[case][0]):
        case = 1
    found = wish(grid, case, steps)
    if found is None:
        return False
    plan = found._replace(solver=get_solver(solver)).trace(DENOISER)
    assert plan.grid == found.grid
    return True


@pytest.mark.parametrize("solver", SOLVERS)
def test_weights_are_finite_on_every_grid(solver):
    """1, 2, 3, 5 and 50 steps of each grid, on the case that a fixed rule picks, and on VP where that is refused."""
    first = SOLVERS.index(solver)
    for j, grid in enumerate(GRID_SPECS):
        for k, steps in enumerate(FEW):
            if not check(solver, grid, (first + j + k) % len(CASES), steps) and fits(solver, "vp"):
                assert check(solver, grid, 3, steps)


@pytest.mark.slow
@pytest.mark.parametrize("solver", SOLVERS)
def test_weights_are_finite_at_any_number_of_steps(solver):
    """1 to 50 steps of every grid on every case, and 1000 of one."""
    for case in range(len(CASES)):
        for grid in GRID_SPECS:
            for steps in range(1, 51):
                check(solver, grid, case, steps)
        assert check(solver, "uniform", case, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("solver", [spec for spec in SOLVER_SPECS if get_solver(spec).affine and fits(spec, "cld")])
def test_weights_are_finite_at_any_number_of_steps_on_blocks(solver):
    """1 to 50 steps and 1000 of the grids that blocks have, from t_max to t_min and to the data."""
    for grid in ("uniform", "quadratic", "beta"):
        for steps in (*range(1, 51), 1000):
            plan = torchdiff.plan("cld", solver, grid=grid, steps=steps, prediction="score")
            assert plan.grid[-1].t == 0.0
