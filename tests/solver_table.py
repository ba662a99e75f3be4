"""What each solver claims beside what is measured: torchdiff/solvers/measured.json, and docs/solvers.md made of it.

`python tests/solver_table.py` writes both.
"""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

from instances import HOMES, SOLVER_SPECS

import torchdiff
from torchdiff import get_sde, get_solver
from torchdiff.plans import Plan
from torchdiff.solvers import Solver
from torchdiff.steps import AffineStep
from torchdiff.testing import mixture, strong
from torchdiff.testing.order import cases, fits, from_middle, slopes

ROOT = Path(torchdiff.__file__).parent
DATA, FILE = ROOT / "solvers" / "measured.json", Path(__file__).parents[1] / "docs" / "solvers.md"
HEAD = """# Solvers

Each with its telling options. Claimed: weak order, strong order on one Brownian path, network calls and fresh normals
of a step at most, memos of earlier steps. Measured (`torchdiff check NAME` does it for one): on Gaussian data with the
exact score, without sampling, the slope of the error in the number of steps on a uniform grid, on each process the
least of covariance and linear map, from the far end and from the middle; on a mixture of Gaussians, where the network
is not linear, the slope of the distance to the exact flow, for solvers that draw nothing; for those that claim a strong
order the slope of the distance of runs with N and 2N steps on one path, the least of these processes. A slope may be
above its order where the error of that order is small or vanishes on such data. Live: tensors that a run holds at once
between a network call and its rows. `python tests/solver_table.py` writes this file and the one that
`torchdiff list solvers` prints; `tests/test_order.py` fails where they are stale.

"""
CLAIMS = ("weak", "strong", "calls", "draws", "memory", "live")
MEASURED = (*HOMES, "mixture", "path")
COLUMNS = ("solver", "weak", *HOMES, "mixture", "strong", "path", "calls", "draws", "memory", "live", "source")
Number = float | str | None  # None: not claimed or not measured; "exact": no error to have a slope


def specs() -> list[str]:
    """Solvers that move by a formula that is theirs: no chains, no error control, nothing of another library."""
    found = [(spec, get_solver(spec)) for spec in SOLVER_SPECS]
    return [s for s, solver in found if len(solver.parts()) == 1 and solver.moves and solver.affine]


def claims(spec: str) -> dict[str, Number]:
    solver = get_solver(spec)
    return {
        "weak": solver.weak_order,
        "strong": solver.strong_order,
        "calls": solver.calls,
        "draws": solver.draws,
        "memory": solver.memory,
        "live": live(solver),
    }


def live(solver: Solver) -> int:
    """The most tensors that the state and the network's outputs are, on the first process that the solver runs on."""
    sde = next(sde for sde in HOMES if fits(solver, get_sde(sde)))
    plan: Plan = torchdiff.plan(sde, solver, steps=12, prediction="flow" if sde == "flow" else None)
    state, most = plan.blocks, 0
    for item in plan.items:
        assert isinstance(item, AffineStep)
        most = max(most, state + len(item.mix) * (item.at is not None))
        state = len(item.weights) + len(item.keep)
    return most


@functools.cache
def measured(spec: str, what: str) -> Number:
    """A slope to two digits: on Gaussian data on a process, on the mixture, or on one Brownian path."""
    solver = get_solver(spec)
    if solver.weak_order is None:
        return None
    homes = [sde for sde in HOMES if fits(solver, get_sde(sde))]
    if what == "path":
        found = [strong.slope(solver, case) for case in from_middle(solver, homes)] if solver.strong_order else None
    elif what == "mixture":
        found = mixture_slopes(spec) if solver.deterministic else None
    else:
        runs = [slopes(solver, case) for case in cases(solver, [what])] if what in homes else None
        found = None if runs is None else [run.least for run in runs if run is not None]
    return None if found is None else number(found)


@functools.cache
def mixture_slopes(spec: str) -> list[float]:
    solver = get_solver(spec)
    return [mixture.slope(solver, case).order for case in from_middle(solver, ["vp", "flow"])[:1]]


def number(slopes: list[float]) -> Number:
    return round(min((s for s in slopes if not math.isnan(s)), default=math.nan), 2) if slopes else None


def row(spec: str) -> dict[str, Any]:
    found = claims(spec) | {what: measured(spec, what) for what in MEASURED}
    return {name: "exact" if isinstance(v, float) and math.isnan(v) else v for name, v in found.items()}


def read() -> dict[str, dict[str, Any]]:
    """The rows of the data file by their solver."""
    return json.loads(DATA.read_text())


def table(rows: dict[str, dict[str, Any]]) -> str:
    """docs/solvers.md."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|".join(["", *("---" for _ in COLUMNS), ""])]
    for spec, known in rows.items():
        cells = {"solver": f"`{spec}`", "source": get_solver(spec).source}
        cells |= {name: text(known[name], name in MEASURED) for name in (*CLAIMS, *MEASURED)}
        lines.append("| " + " | ".join(cells[name] for name in COLUMNS) + " |")
    return HEAD + "\n".join(lines) + "\n"


def text(value: Number, slope: bool) -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:.2f}" if slope else f"{value:g}"


if __name__ == "__main__":
    rows = {spec: row(spec) for spec in specs()}
    DATA.write_text("{\n" + ",\n".join(f" {json.dumps(s)}: {json.dumps(known)}" for s, known in rows.items()) + "\n}\n")
    FILE.write_text(table(rows))
