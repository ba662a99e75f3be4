"""docs/solvers.md: what each solver claims beside what is measured. `python tests/solver_table.py` writes it."""

from __future__ import annotations

import functools
import math
from pathlib import Path

from instances import HOMES, SOLVER_SPECS

import torchdiff
from torchdiff import get_sde, get_solver
from torchdiff.plans import Plan
from torchdiff.solvers import Solver
from torchdiff.solvers.base import check_fit
from torchdiff.steps import AffineStep
from torchdiff.testing.order import cases, fits, slopes

FILE = Path(__file__).parents[1] / "docs" / "solvers.md"
HEAD = """# Solvers

Each with its telling options. Claimed: weak order, strong order on one Brownian path, network calls and fresh normals
of a step at most, memos of earlier steps. Measured on Gaussian data with the exact score, without sampling
(`torchdiff check NAME` does it for one): the slope of the error in the number of steps on a uniform grid, on each
process the least of covariance and linear map, from the far end and from the middle. A slope may be above its order
where the error of that order is small or vanishes on Gaussian data. Live: tensors that a run holds at once between a
network call and its rows. `python tests/solver_table.py` writes this file; `tests/test_order.py` fails where it is
stale.

"""
COLUMNS = ("solver", "weak", "strong", "calls", "draws", "memory", *HOMES, "live", "source")


def specs() -> list[str]:
    """Solvers that move by a formula that is theirs: no chains, no error control, nothing of another library."""
    found = [(spec, get_solver(spec)) for spec in SOLVER_SPECS]
    return [s for s, solver in found if len(solver.parts()) == 1 and solver.moves and solver.affine]


@functools.cache
def measured(spec: str, sde: str) -> float | None:
    """The least slope of a solver on a process: nan where it is exact, None where it does not run."""
    solver = get_solver(spec)
    if not fits(solver, get_sde(sde)):
        return None
    found = [slopes(solver, case) for case in cases(solver, [sde])]
    return min((s.least for s in found if s is not None and not math.isnan(s.least)), default=math.nan)


def claims(spec: str) -> dict[str, str]:
    solver = get_solver(spec)
    return {
        "solver": f"`{spec}`",
        "weak": _number(solver.weak_order),
        "strong": _number(solver.strong_order),
        "calls": str(solver.calls),
        "draws": str(solver.draws),
        "memory": str(solver.memory),
        "live": str(live(solver)),
        "source": solver.source,
    }


def live(solver: Solver) -> int:
    """The most tensors that the state and the network's outputs are, on the first process that the solver runs on."""
    sde = next(sde for sde in HOMES if fits(solver, get_sde(sde)))
    check_fit(solver, get_sde(sde))
    plan: Plan = torchdiff.plan(sde, solver, steps=12, prediction="flow" if sde == "flow" else None)
    state, most = plan.blocks, 0
    for item in plan.items:
        assert isinstance(item, AffineStep)
        most = max(most, state + len(item.mix) * (item.at is not None))
        state = len(item.weights) + len(item.keep)
    return most


def row(spec: str) -> str:
    known = claims(spec) | {sde: _slope(measured(spec, sde)) for sde in HOMES}
    return "| " + " | ".join(known[name] for name in COLUMNS) + " |"


def read(text: str) -> dict[str, dict[str, str]]:
    """The rows of the file by their solver."""
    lines = [line.strip("| \n").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): dict(zip(COLUMNS, cells, strict=True)) for cells in lines}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _slope(value: float | None) -> str:
    return "-" if value is None else "exact" if math.isnan(value) else f"{value:.2f}"


if __name__ == "__main__":
    rule = "|".join(["", *("---" for _ in COLUMNS), ""])
    FILE.write_text(HEAD + "\n".join(["| " + " | ".join(COLUMNS) + " |", rule, *map(row, specs())]) + "\n")
