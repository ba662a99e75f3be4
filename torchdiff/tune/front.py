"""Which solver, grid and number of steps: every candidate measured exactly, the Pareto front, one recommendation."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from torchdiff import gaussian
from torchdiff.denoiser import Denoiser
from torchdiff.errors import IncompatibleError, OptionError, TorchdiffError, shown
from torchdiff.grids.optimal import Optimal
from torchdiff.planner import likely, request
from torchdiff.plans import Plan
from torchdiff.registry import GRIDS, SDES, SOLVERS
from torchdiff.sde.base import LinearSDE
from torchdiff.solvers.base import check_fit
from torchdiff.spectra import Spectrum
from torchdiff.spectra import spectrum as spectrum_of
from torchdiff.tune.front_text import table
from torchdiff.tune.objective import Objective

CALLS = (5, 8, 10, 20)
# ipndm is not among them: its weights are those of even steps, and a grid that is optimal for it makes the least error
# here of all at 8 calls, where on mixtures deis and unipc have a fifth and a half of its distance to a fine run
SOLVERS_TRIED = (
    *("ddim", "dpmpp_2m", "dpmpp_3m", "unipc", "unipc:order=3", "deis", "heun", "dpmpp_2s", "res_2"),
    *("ddpm", "dpmpp_2m_sde", "dpmpp_3m_sde", "sa_solver", "er_sde", "cld_exp", "sscs", "sscs_2m", "euler_maruyama"),
)
WORTH = 2.0  # an optimal grid is computed where a fixed one comes so close to the best error of as many calls


class Candidate(NamedTuple):
    """One way from noise to data, by specs, and what it costs and misses.

    asked: the most calls that it may cost, calls: what it costs.
    error: what the steps add to the error of the standard deviation, on the spectrum and a family around it, relative
           to the size of the data and summed without letting steps cancel (see Objective "steps"; times the root of
           the number of intervals, so that it is a bound). The measure of the front.
    w2:    W2 over the size of the data on the Gaussian of the spectrum itself, where steps may cancel.
    """

    solver: str
    grid: str
    steps: int
    asked: int
    calls: int
    error: float
    w2: float
    times: tuple[float, ...]


@dataclass(frozen=True)
class Tuned:
    """What `recommend` found: all candidates, best first for each number of calls; the front; the one to take.

    left_out: solver -> why it was not measured.
    """

    sde: LinearSDE
    candidates: tuple[Candidate, ...]
    front: tuple[Candidate, ...]
    best: Candidate
    left_out: dict[str, str]

    def __str__(self) -> str:
        return table(self)

    def to_json(self) -> str:
        lists = {name: [one._asdict() for one in getattr(self, name)] for name in ("front", "candidates")}
        facts = {"sde": SDES.label(self.sde), "best": self.best._asdict(), **lists, "left_out": self.left_out}
        return json.dumps(facts, allow_nan=False)


def recommend(
    sde: LinearSDE | str,
    *,
    solvers: Iterable[str] = SOLVERS_TRIED,
    grids: Iterable[str] | None = None,
    calls: Iterable[int] = CALLS,
    spectrum: Any = "power",
    quality: float | None = None,
    budget: int | None = None,
    t_max: float | None = None,
    t_min: float | None = None,
    final: str | None = None,
    progress: bool = False,
) -> Tuned:
    """The best way from noise to data on a process, by exact errors on Gaussian data of a spectrum.

    solvers: specs, or patterns of names such as "dpmpp_*"; those that do not fit, or need sampling, are left out, and
    said so. grids: specs; by default every registered grid, and "optimal" for solvers that come within a factor of 2 of
    the best with a fixed one. calls: the numbers of network calls to look at.
    quality: the fewest calls whose error is at most this; budget: the least error of at most so many calls. At most one
    of them; without, the budget is the largest of `calls`. progress: a bar that counts solvers at a number of calls.
    Raises OptionError for both, for no solver that can be measured and for a quality that none reaches.
    """
    sde, data = SDES.get(sde), spectrum_of(spectrum)
    if quality is not None and budget is not None:
        raise OptionError(f"give quality or budget, got quality = {quality!r} and budget = {budget!r}")
    if quality is not None and not 0.0 < quality < math.inf:
        raise OptionError(f"quality is an error relative to the data, above 0 (0.02, say), got {quality!r}")
    counts = sorted(set(_listed("calls", calls)) | ({budget} if budget is not None else set()))
    counts = [count for count in counts if budget is None or count <= budget]
    tried, left_out = _solvers(sde, _listed("solvers", solvers))
    fixed = _listed("grids", grids) if grids is not None else _fixed()
    ends = {"t_max": t_max, "t_min": t_min, "final": final}
    found: list[Candidate] = []
    with tqdm(total=len(counts) * len(tried), unit="solver", leave=False, disable=not progress) as meter:
        measure = _Measure(sde, data, ends, left_out, meter)
        for count in counts:
            here = measure(tried, fixed, count)
            if grids is None and here:
                least = min(one.error for one in here)
                worth = sorted({one.solver for one in here if one.error <= WORTH * least})
                meter.total += len(worth)
                here += measure(worth, [Optimal(spectrum)], count)
            found += sorted(here, key=lambda one: (one.error, one.calls, one.solver, one.grid))
    if not found:
        raise OptionError(
            f"no solver of {', '.join(solvers)} can be measured on {sde!r} with {', '.join(map(str, counts))} calls: "
            + "; ".join(f"{name}: {why}" for name, why in left_out.items())
        )
    front = pareto(found)
    return Tuned(sde, tuple(found), front, _chosen(front, quality), left_out)


def _fixed() -> list[str]:
    """The registered grids but "optimal"; plugins that nobody has asked for are not loaded."""
    return [name for name in GRIDS if GRIDS.find(name) not in (None, Optimal)]


def pareto(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Those that none beats in calls and error at once, by calls."""
    front: list[Candidate] = []
    for one in sorted(candidates, key=lambda one: (one.calls, one.error, one.solver, one.grid)):
        if not front or one.error < front[-1].error:
            front.append(one)
    return tuple(front)


def _chosen(front: Sequence[Candidate], quality: float | None) -> Candidate:
    if quality is None:
        return front[-1]
    for one in front:
        if one.error <= quality:
            return one
    raise OptionError(
        f"the least error is {front[-1].error:.3g} of the data's size, with {front[-1].calls} calls of "
        f"{front[-1].solver}: quality = {quality!r} is not reached; allow more calls"
    )


def _listed(name: str, values: Iterable[Any]) -> list[Any]:
    listed = [values] if isinstance(values, str) or not hasattr(values, "__iter__") else list(values)
    if not listed:
        raise OptionError(f"{name} are one or more, got {shown(values)}")
    return listed


def _solvers(sde: LinearSDE, patterns: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The specs that can be measured on this process, and why the others cannot. Unknown names are errors."""
    specs: list[str] = []
    left_out: dict[str, str] = {}
    for pattern in patterns:
        wild = any(mark in pattern for mark in "*?[")
        names = [name for name in SOLVERS.names(pattern) if SOLVERS.find(name) is not None] if wild else [pattern]
        if not names:
            raise OptionError(f"no solver is like {shown(pattern)}; known: {', '.join(SOLVERS)}")
        specs += [name for name in names if name not in specs]
    fitting = []
    for spec in specs:
        try:
            solver = SOLVERS.get(spec)
            check_fit(solver, sde)
        except IncompatibleError:
            left_out[spec] = "they do not run on this process"
            continue
        if not all(part.affine for part in solver.parts()):
            left_out[spec] = "their steps are no weighted sums and their error needs sampling"
            continue
        fitting.append(spec)
    return fitting, left_out


@dataclass
class _Measure:
    """Every solver on every grid that has times for it, at a number of calls."""

    sde: LinearSDE
    data: Spectrum
    ends: dict[str, Any]
    left_out: dict[str, str]
    meter: tqdm

    def __post_init__(self) -> None:
        self.objective = Objective("steps", self.data)
        self.size = math.sqrt(float(self.data.variance.sum())) or 1.0

    def __call__(self, solvers: Sequence[str], grids: Sequence[Any], calls: int) -> list[Candidate]:
        found = []
        for spec in solvers:
            for grid in grids:
                try:
                    made = _plan(self.sde, spec, grid, calls, self.ends)
                except TorchdiffError as error:  # a grid without that coordinate, too few calls for one step
                    if len(grids) == 1:
                        self.left_out[f"{spec} on {GRIDS.label(GRIDS.get(grid))}"] = str(error)
                    continue
                error = math.sqrt(len(made.grid) - 1) * self.objective.value(made)
                w2 = gaussian.w2(made, *self.data) / self.size
                if math.isfinite(error) and math.isfinite(w2):
                    times = tuple(level.t for level in made.grid[: made.steps + 1])
                    label = GRIDS.label(GRIDS.get(grid))
                    found.append(Candidate(spec, label, made.steps, calls, made.calls or 0, error, w2, times))
            self.meter.update()
        return found


def _plan(sde: LinearSDE, solver: str, grid: Any, calls: int, ends: dict[str, Any]) -> Plan:
    denoiser = Denoiser(None, likely(sde, sde.t_max if ends["t_max"] is None else ends["t_max"]))
    wish = request(sde, solver, denoiser, steps=None, calls=calls, times=None, grid=grid, **ends)
    return wish.trace(denoiser, watch=True)
