"""The search for an optimal grid: from the best known grids downhill on an objective, never ending above them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from torchdiff.errors import IncompatibleError, OptionError, TorchdiffError
from torchdiff.grids.optimal import Optimal
from torchdiff.plans import Plan
from torchdiff.registry import GRIDS
from torchdiff.sde.base import LinearSDE
from torchdiff.solvers.base import Solver
from torchdiff.spectra import spectrum
from torchdiff.tune import cache
from torchdiff.tune.coordinate import Steps
from torchdiff.tune.descent import descend
from torchdiff.tune.objective import Objective

MOST = 200  # steps: a search takes seconds there, and grids hardly differ
# the best known grids from which a search goes down: "steps" and "own" have one valley, mostly, "end" has many
STARTS = {"steps": 2, "own": 2, "end": 5}
FLOOR = 1e-6  # of the data's size: an error below it is no error, and a grid that were fitted to it would be arbitrary

Make = Callable[[tuple[float, ...]], Plan]  # times -> the plan, watched


class Found(NamedTuple):
    """Times, the objective there, and the registered grid that came closest: its name and its objective."""

    times: tuple[float, ...]
    value: float
    known: str
    known_value: float


def optimal(
    grid: Optimal, sde: LinearSDE, solver: Solver, steps: int, t_max: float, t_min: float, final: bool, make: Make
) -> Found:
    """The optimal times of so many steps, from the user's cache or computed.

    make: the plan of a grid, with what else is fixed. The same request gives the same times, bit for bit on one
    machine: nothing is drawn.
    Raises IncompatibleError for a solver whose error needs sampling, OptionError for more than MOST steps.
    """
    if not all(part.affine for part in solver.parts()):
        part = next(part for part in solver.parts() if not part.affine)
        raise IncompatibleError(
            f"grid 'optimal' is computed from the exact error on Gaussian data, and {part!r} is no weighted sum of its "
            f"inputs: its error needs sampling; take another grid, or a solver such as dpmpp_2m"
        )
    if steps > MOST:
        raise OptionError(f"grid 'optimal' is computed for 1 to {MOST} steps, got {steps}; beyond, take log_snr")
    if not t_min < t_max:
        raise OptionError(f"sampling runs from t_max down to t_min, got t_max = {t_max:g}, t_min = {t_min:g}")
    data = spectrum(grid.spectrum)
    key = cache.key(grid.objective, sde, solver, steps, t_max, t_min, final, data) if grid.cache else None
    stored = None if key is None else cache.read(key, Found)
    if stored is not None:
        return stored
    found = search(Objective(grid.objective, data), sde, steps, t_max, t_min, make)
    if key is not None:
        cache.write(key, found)
    return found


def search(objective: Objective, sde: LinearSDE, steps: int, t_max: float, t_min: float, make: Make) -> Found:
    """Downhill from the best registered grids; the best of all that was seen."""

    def value(times: tuple[float, ...]) -> float:
        return objective.value(make(times))

    known = []
    for name, times in known_grids(sde, steps, t_max, t_min):
        try:
            found = value(times)
        except TorchdiffError:  # a solver that cannot take this grid's steps
            continue
        if math.isfinite(found):
            known.append((found, name, times))
    if not known:
        raise OptionError(f"no registered grid has {steps} steps from t = {t_max:g} to {t_min:g} on {sde!r}")
    known.sort(key=lambda entry: entry[:2])
    best = known[0][::2]
    if steps > 1:
        free = Steps(sde, t_max, t_min, steps)
        for _, _, times in known[: STARTS[objective.kind]]:
            numbers, _ = descend(
                lambda numbers: objective.residuals(make(free.times(numbers))), free.numbers(times), FLOOR**2
            )
            times = free.times(numbers)
            best = min(best, (value(times), times))
    return Found(best[1], best[0], known[0][1], known[0][0])


def known_grids(sde: LinearSDE, steps: int, t_max: float, t_min: float) -> list[tuple[str, tuple[float, ...]]]:
    """The times of every registered grid that has some between these ends; plugins not loaded yet are left out."""
    found = []
    for name in GRIDS:
        cls = GRIDS.find(name)
        if cls is None or issubclass(cls, Optimal):
            continue
        try:
            found.append((name, GRIDS.get(name).times(sde, steps, t_max, t_min)))
        except TorchdiffError:  # it needs options, or a coordinate that this process has not
            continue
    return found
