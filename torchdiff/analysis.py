"""The exact error of a solver against its number of steps: W2, KL, order, where it comes from, at which frequency."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from torchdiff import gaussian
from torchdiff.analysis_text import table
from torchdiff.auto import is_auto
from torchdiff.errors import OptionError, shown
from torchdiff.gaussian import Split
from torchdiff.grids import Grid
from torchdiff.planner import plan
from torchdiff.plans import Plan
from torchdiff.registry import GRIDS, SDES, SOLVERS
from torchdiff.sde.base import LinearSDE
from torchdiff.solvers.base import Solver
from torchdiff.spectra import Spectrum, spectrum

BANDS = 6
READ = 1e-12  # of the data's size: errors below it are rounding and have no order


class Row(NamedTuple):
    """One number of steps. w2 is in units of the data, size the root of the trace of its covariance; kl in nats.

    order: the slope of the steps' part of the error between the row above and this one, in steps; nan in the first row
    and where rounding would be read.
    """

    plan: Plan
    w2: float
    size: float
    kl: float
    order: float
    split: Split

    @property
    def relative(self) -> float:
        """W2 over the size of the data; nan for data without variance."""
        return self.w2 / self.size if self.size > 0.0 else math.nan


@dataclass(frozen=True)
class Analysis:
    """What `analyze` found: a row for each number of steps; str() is a table, to_json() all numbers."""

    rows: tuple[Row, ...]
    grid: str
    spectrum: Spectrum

    def bands(self) -> list[tuple[int, int]]:
        """First and last of the eigenvalues that one column of the table speaks of, counted from 1, largest first."""
        count = self.spectrum.variance.size
        edges = sorted({round(count ** (i / BANDS)) for i in range(BANDS + 1)} | {0})
        return [(low + 1, high) for low, high in pairwise(edges)]

    def __str__(self) -> str:
        return table(self)

    def to_json(self) -> str:
        """JSON text: the words of the run, the eigenvalues, and for each row all errors, also those of each one."""
        first = self.rows[0].plan
        words = {"sde": SDES.label(first.sde), "solver": SOLVERS.label(first.solver), "grid": self.grid}
        data = {"eigenvalues": self.spectrum.variance.tolist(), "mean": self.spectrum.mean.tolist()}
        return json.dumps({**words, **data, "rows": [_facts(row) for row in self.rows]}, allow_nan=False)


def analyze(
    sde: LinearSDE | str,
    solver: Solver | str,
    *,
    steps: Iterable[int] | int | None = None,
    calls: Iterable[int] | int | None = None,
    grid: Grid | str | None = None,
    spectrum: Any = "power",
    t_max: float | None = None,
    t_min: float | None = None,
    final: str | None = None,
) -> Analysis:
    """The exact error of a solver on Gaussian data of a spectrum, for each of some numbers of steps or network calls.

    Nothing is sampled: the error is of the solver, its grid and its ends, with a network that knows the score.
    spectrum: see torchdiff.spectra.spectrum. The rest as in `plan`; steps and calls may be one number or many.
    Raises IncompatibleError for a solver with a step that is no weighted sum: its error needs sampling.
    """
    if is_auto(solver):
        raise OptionError(
            "solver 'auto' may be another solver for each number of steps, which have no order together; name one "
            "(`torchdiff plan` shows which it is)"
        )
    asked = {"steps": steps, "calls": calls}
    given = {name: _counts(name, value) for name, value in asked.items() if value is not None}
    if len(given) != 1:
        raise OptionError(f"give one of steps and calls, got {', '.join(given) or 'none of them'}")
    ((name, counts),) = given.items()
    data = _spectrum(spectrum)
    rows: list[Row] = []
    for count in counts:
        made = plan(sde, solver, grid=grid, t_max=t_max, t_min=t_min, final=final, **{name: count})
        rows.append(_row(made, data, rows[-1] if rows else None))
    label = "default" if grid is None else GRIDS.label(GRIDS.get(grid))
    return Analysis(tuple(rows), label, data)


_spectrum = spectrum  # `spectrum` is an argument above


def _counts(name: str, value: Any) -> list[Any]:
    counts = list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
    if not counts:
        raise OptionError(f"{name} are one number or more, got {shown(value)}")
    return counts


def _row(made: Plan, data: Spectrum, before: Row | None) -> Row:
    split = gaussian.split(made, *data)
    size = math.sqrt(float(data.variance.sum()))
    order = math.nan
    if before is not None and made.steps != before.plan.steps:
        old, new = before.split.steps.w2, split.steps.w2
        if min(old, new) > READ * size:
            order = math.log(old / new) / math.log(made.steps / before.plan.steps)
    return Row(made, split.total.w2, size, gaussian.kl(made, *data), order, split)


def _facts(row: Row) -> dict[str, Any]:
    numbers = {"w2": row.w2, "relative_w2": row.relative, "kl": row.kl, "order": row.order}
    facts = {"steps": row.plan.steps, "calls": row.plan.calls, "times": [level.t for level in row.plan.grid]}
    facts |= {name: value if math.isfinite(value) else None for name, value in numbers.items()}
    for name, part in row.split._asdict().items():
        facts[name] = {"w2": part.w2, "mean": part.mean.tolist(), "deviation": part.deviation.tolist()}
    return facts
