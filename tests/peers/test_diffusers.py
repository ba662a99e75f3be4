"""Equality with the schedulers of diffusers: their grid, one network, one noise."""

from __future__ import annotations

import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed: pip install diffusers==0.42.1")
from diffusers_cases import CASES
from diffusers_loop import meet

pytestmark = [  # theirs
    pytest.mark.filterwarnings("ignore:.algorithm_types dpmsolver:FutureWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]
PAIRS = [pytest.param(case, name, id=f"{case}-{name}") for case in CASES for name in case.predictions]


@pytest.mark.parametrize(("case", "prediction"), PAIRS)
def test_scheduler_and_solver_end_at_one_state(case, prediction):
    """In float64 to rounding, and as shipped to that of float32 where it casts its state, at 1 to 50 steps."""
    casts = case.shipped > case.bound
    counts = case.counts if prediction == case.predictions[0] else (3, 11 if case.every > 1 else 10)
    for steps in counts:
        exact, *shipped = meet(case, steps, prediction, (True, False) if casts and steps in (3, 20) else (True,))
        assert exact <= case.bound, steps
        assert all(end <= case.shipped for end in shipped), steps


@pytest.mark.slow
@pytest.mark.parametrize(("case", "prediction"), PAIRS)
def test_every_number_of_steps(case, prediction):
    """The same at each number of steps from 1 to 50; those of a case that has its own counts are told already."""
    for steps in range(case.counts[0], 51 if case.counts[-1] == 50 else 1):
        exact, *shipped = meet(case, steps, prediction, (True, False) if case.shipped > case.bound else (True,))
        assert exact <= case.bound, steps
        assert all(end <= case.shipped for end in shipped), steps
