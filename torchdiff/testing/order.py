"""Order of convergence, by the exact map of Gaussian data: nothing is sampled."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from torchdiff import gaussian
from torchdiff.denoiser import Denoiser
from torchdiff.errors import IncompatibleError
from torchdiff.planner import request
from torchdiff.registry import SDES
from torchdiff.sde.base import LinearSDE
from torchdiff.solvers.base import Solver, check_fit
from torchdiff.testing import linear

# Start and end of each law, well inside the range where every coefficient is smooth. From the far end, and from the
# middle, where a wrong start-up of a multistep method shows. VE ends at sigma = 0.3: lower, second-order terms of its
# first steps, with sigma = 50, still outweigh the first-order error at 4096 steps.
RANGES = {
    "vp": ((1.0, 0.05), (0.5, 0.05)),
    "sub_vp": ((1.0, 0.05), (0.5, 0.05)),
    # a table and the curve through it: as smooth as vp above its first fifty knots
    "ddpm": ((1.0, 0.05), (0.5, 0.05)),
    "ve": ((1.0, 0.4), (0.7, 0.4)),
    "flow": ((0.98, 0.1), (0.5, 0.1)),
    "cld": ((1.0, 0.1), (0.5, 0.1)),
    "cld:beta=0.1,slope=6.9": ((1.0, 0.1), (0.5, 0.1)),
}
OTHER = ((0.98, 0.1), (0.5, 0.1))  # of t_max, for a process that has no line above
FINEST, COARSEST = 4096, 16
SETTLED = 512, 0.004  # steps from which on a slope may count as found, and how still it must stand at two doublings
VARIANCE, MEAN = (0.05, 0.25, 2.0), 0.3
FLOOR = 1e-11  # an error below it is not read: rounding, 1e-13 after thousands of steps, would bend its slope


class Case(NamedTuple):
    """A process, and where its law starts and ends."""

    sde: LinearSDE
    high: float
    low: float

    def __str__(self) -> str:
        return f"{SDES.label(self.sde)} from t = {self.high:g} to {self.low:g}"


class Slopes(NamedTuple):
    """What a solver does in one case: Richardson slopes, and the first and last covariance error.

    A slope is nan where there is no error to have one: the map of the ancestral solvers is exact.
    """

    covariance: float
    map: float
    errors: tuple[float, float]

    @property
    def least(self) -> float:
        """The order that both show; nan where neither has an error."""
        return min((slope for slope in self[:2] if not math.isnan(slope)), default=math.nan)


def default_sdes() -> list[str]:
    """The processes that solvers are measured on: those of RANGES that are registered."""
    return [spec for spec in RANGES if spec.partition(":")[0] in SDES.names()]


def cases(solver: Solver, sdes: Sequence[LinearSDE | str]) -> list[Case]:
    """Both starts of each process on which the solver runs."""
    found = []
    for spec in sdes:
        sde = SDES.get(spec)
        top = sde.t_max
        other = tuple((high * top, max(low * top, sde.t_min)) for high, low in OTHER)
        ranges = RANGES.get(SDES.label(sde), other)
        if fits(solver, sde):
            found += [Case(sde, high, low) for high, low in ranges]
    return found


def from_middle(solver: Solver, sdes: Sequence[LinearSDE | str]) -> list[Case]:
    """The later start of each process on which the solver runs."""
    return cases(solver, sdes)[1::2]


def fits(solver: Solver, sde: LinearSDE) -> bool:
    try:
        check_fit(solver, sde)
    except IncompatibleError:
        return False
    return True


def affine(solver: Solver, case: Case, steps: int) -> tuple[Any, gaussian.Affine | None]:
    """(grid, exact map of a run on a uniform grid); no map where the solver is not linear."""
    # a flow network says x0 and eps at alpha = 0 and at sigma = 0 too
    prediction = "flow" if case.sde.blocks == 1 else "score"
    denoiser = Denoiser(None, prediction)
    wish = request(
        case.sde, solver, denoiser, steps=steps, calls=None, times=None, grid="uniform", t_min=case.low,
        t_max=case.high, final="t_min",
    )  # fmt: skip
    if all(part.affine for part in solver.parts()):
        return wish.grid, gaussian.push(wish.trace(denoiser), VARIANCE, MEAN)
    return wish.grid, linear.push(wish, prediction, VARIANCE, MEAN)


def slopes(solver: Solver, case: Case, finest: int = FINEST) -> Slopes | None:
    """Richardson slopes on grids of 16, 32, ... steps, as fine as they need to stand still. None: not linear.

    Of the covariance when the start is exact, and of the linear map, which says what becomes of a perturbed start.
    """
    found: list[float] = []
    moves: list[float] = []
    before, steps = None, COARSEST
    while steps <= finest:
        run = errors(solver, case, steps)
        if run is None:
            return None
        found.append(run[0])
        if before is not None:
            moves.append(float(np.abs(run[1] - before).max()))
        before, steps = run[1], 2 * steps
        if steps > SETTLED[0] and all(_found(values) for values in (found, moves)):
            break
    return Slopes(slope_of(found), slope_of(moves), (found[0], found[-1]))


def errors(solver: Solver, case: Case, steps: int) -> tuple[float, np.ndarray] | None:
    """(covariance error of a run from the exact start, its linear map); None where it is not linear."""
    grid, found = affine(solver, case, steps)
    if found is None:
        return None
    start, end = (gaussian.marginal(case.sde, grid[i], VARIANCE, MEAN) for i in (0, -1))
    return float(np.abs(found.apply(start).cov - end.cov).max()), found.matrix


def _read(values: Sequence[float], floor: float = FLOOR) -> list[float]:
    """The values before the first that rounding could bend."""
    return list(itertools.takewhile(lambda value: value >= floor, values))


def _found(values: Sequence[float]) -> bool:
    """More steps will not tell more: the values are lost in rounding, or their slope stands still."""
    known = _read(values)
    slopes = [richardson(known[: n + 1]) for n in range(2, len(known))][-2:]
    return len(known) < len(values) or (len(slopes) == 2 and abs(slopes[1] - slopes[0]) < SETTLED[1])


def slope_of(values: Sequence[float], floor: float = FLOOR) -> float:
    """Richardson's, but never below the last slope itself: from a higher order down to its own, he overshoots.

    Of the values before the first below the floor; nan where these are fewer than three.
    """
    known = _read(values, floor)
    return max(richardson(known), math.log2(known[-2] / known[-1])) if len(known) > 2 else math.nan


def richardson(values: Sequence[float]) -> float:
    """2 p(N) - p(N / 2) of the last three: the slope with its own first-order error taken out."""
    p = [math.log2(a / b) for a, b in pairwise(values[-3:])]
    return 2.0 * p[-1] - p[-2]


def short_by(order: float) -> float:
    """How far a right solver may stay below its order: 0.0193 is the most of those here (Euler-Maruyama on VE)."""
    return 0.02 if order < 3.0 else 0.05
