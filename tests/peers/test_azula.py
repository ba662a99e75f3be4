"""Equality with the samplers of azula: their grid, one network, one noise."""

from __future__ import annotations

import pytest
from azula_loop import CASES, meet


@pytest.mark.parametrize(("solver", "name", "options", "sde"), CASES, ids=[f"{c[1]}-{c[0]}" for c in CASES])
def test_sampler_and_solver_end_at_one_state(solver, name, options, sde):
    """In float64 to the rounding of some dozen operations a step, at 1 to 50 steps; measured 3e-13 at most."""
    for steps in (1, 2, 3, 4, 5, 10, 20, 50):
        assert meet(solver, name, options, sde, steps) <= 1e-12, steps
