"""The grid that is computed for a solver."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.grids.base import Grid
from torchdiff.registry import GRIDS
from torchdiff.sde.base import LinearSDE

OBJECTIVES = ("steps", "own", "end")


@GRIDS.register("optimal")
@dataclass(frozen=True)
class Optimal(Grid):
    """The times at which this solver errs least on Gaussian data of a spectrum, by calculation.

    spectrum: the data: "power:exponent=1.2,count=256" (the default), "digits", a file of data (see torchdiff.spectra),
    or in Python eigenvalues or (eigenvalues, mean).
    objective: what is made small, all of it exact:
    "steps" the sum over the steps and over a family of spectra of the square of what each step adds to the error of the
            standard deviation, relative to the exact one: steps may not cancel, for data that is not Gaussian would
            not let them;
    "own"   the same on the given spectrum alone;
    "end"   the W2 distance to the Gaussian at the end. On mixtures and networks it may be worse than a fixed grid.
    cache:  whether a file of the user's cache keeps the times ($TORCHDIFF_CACHE, $XDG_CACHE_HOME/torchdiff).
    Never worse on its objective than any registered grid between the same ends. Not for solvers with a step that is no
    weighted sum, whose error needs sampling, nor beyond 200 steps.
    Raises OptionError for another objective; IncompatibleError where the times are asked for without a solver.
    """

    spectrum: str | Any = "power"
    objective: str = "steps"
    cache: bool = True

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise OptionError(f"optimal: objective is one of {', '.join(OBJECTIVES)}, got {self.objective!r}")

    @property
    def by_value(self) -> bool:
        """False where a name of the spectrum may mean other data later: that of a file."""
        return isinstance(self.spectrum, str) and self.spectrum.partition(":")[0].strip() in ("power", "digits")

    def inside(self, sde: LinearSDE, steps: int, t_max: float, t_min: float) -> Iterable[float]:
        raise IncompatibleError(
            "grid 'optimal' is computed for a solver: plan, sample and torchdiff.tune.optimal_times name one, "
            "Grid.times does not"
        )
