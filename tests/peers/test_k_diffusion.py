"""Equality with the samplers of k-diffusion: their grid, one network, one noise."""

from __future__ import annotations

import pytest
from k_diffusion_loop import CASES, meet


@pytest.mark.parametrize(("solver", "name", "options"), CASES, ids=[f"{c[1]}-{c[0]}" for c in CASES])
def test_function_and_solver_end_at_one_state(solver, name, options):
    """In float64 to the rounding of some dozen operations a step, at 2 to 50 steps."""
    for steps in (2, 3, 4, 5, 10, 20, 50):  # from [sigma, 0] alone their 2M and 3M SDE raise UnboundLocalError
        assert meet(solver, name, options, steps) <= 1e-12, steps
