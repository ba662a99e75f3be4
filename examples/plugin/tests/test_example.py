"""torchdiff's own laws, for what this package adds."""

from torchdiff.testing import check_sde, check_solver

from torchdiff_example.sde import ExampleSDE
from torchdiff_example.solver import ExampleSolver


def test_the_process_obeys_its_laws():
    """Transitions compose, drift and noise match the marginals, and all else that torchdiff.testing knows."""
    assert check_sde(ExampleSDE())


def test_the_solver_obeys_its_laws():
    """Its order is the declared one, its plan is the formula, and all else that torchdiff.testing knows."""
    assert check_solver(ExampleSolver())


def test_it_runs_on_the_process_of_this_package():
    """With another ratio too; fewer steps are enough for a glance at its order."""
    assert check_solver(ExampleSolver(ratio=0.3), sdes=[ExampleSDE()], finest=1024)
