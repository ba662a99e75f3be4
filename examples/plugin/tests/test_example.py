"""torchdiff's own laws, for what this package adds."""

import pytest
from torchdiff.testing import check_sde, check_solver

from torchdiff_example.sde import ExampleSDE
from torchdiff_example.solver import ExampleSolver


def test_the_process_obeys_its_laws():
    """Transitions compose, drift and noise match the marginals, and all else that torchdiff.testing knows."""
    assert check_sde(ExampleSDE())


@pytest.mark.parametrize("ratio", [0.5, 0.3])
def test_the_solver_obeys_its_laws(ratio):
    """Its order is the declared one, its plan is the formula, and all else that torchdiff.testing knows."""
    assert check_solver(ExampleSolver(ratio))
