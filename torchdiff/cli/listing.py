"""List SDEs, solvers, grids, targets and metrics with their options. Plugins are listed from metadata; none is run."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from torchdiff.aligned import aligned
from torchdiff.cli import solver_lines
from torchdiff.errors import TorchdiffError, UnknownNameError, shown
from torchdiff.options import REQUIRED
from torchdiff.registry import GRIDS, METRICS, SDES, SOLVERS, TARGETS, Registry

if TYPE_CHECKING:
    from torchdiff.sde import LinearSDE
    from torchdiff.solvers import Solver

KINDS = {"sdes": SDES, "solvers": SOLVERS, "grids": GRIDS, "targets": TARGETS, "metrics": METRICS}


def run(args: argparse.Namespace) -> int:
    kinds, pattern = list(KINDS), args.pattern or "*"
    if args.kind in KINDS:
        kinds = [args.kind]
    elif args.kind is not None:  # `torchdiff list 'dp*'`: a pattern for all kinds
        if args.pattern is not None:
            raise UnknownNameError(f"expected {', '.join(KINDS)}, got {shown(args.kind)}")
        pattern = args.kind
    rows = {kind: [_row(KINDS[kind], name) for name in KINDS[kind].names(pattern)] for kind in kinds}
    if not any(rows.values()):
        known = ", ".join(name for kind in kinds for name in KINDS[kind])
        raise UnknownNameError(f"no name is like {shown(pattern)}; known: {known}")
    if args.json:
        print(json.dumps([row for kind in kinds for row in rows[kind]], indent=1))
    else:
        print("\n\n".join(_table(kind, rows[kind]) for kind in kinds if rows[kind]))
    return 0


def _row(registry: Registry, name: str) -> dict[str, Any]:
    entry = registry.describe(name)
    options = [
        {"name": o.name, "type": o.type, "default": None if o.default is REQUIRED else o.text} for o in entry.options
    ]
    row = {"kind": registry.kind, "name": name, "summary": entry.summary, "options": options, "source": entry.source}
    return row | _solver_facts(name) if registry is SOLVERS else row


def _solver_facts(name: str) -> dict[str, Any]:
    """What a solver that is here and needs no options claims and runs on, and what was measured of it."""
    cls = SOLVERS.find(name)
    if cls is None:
        return {}
    try:
        solver = SOLVERS.get(cls)
    except TorchdiffError:  # it cannot be built without options
        return {}
    known = {sde: SDES.get(sde) for sde in SDES if SDES.find(sde) is not None}
    fits = [sde for sde, process in known.items() if _fits(solver, process)]
    scalar = [sde for sde, process in known.items() if process.blocks == 1]
    runs = {tuple(known): "all", tuple(scalar): "one-block", tuple(sorted({*known} - {*scalar})): "blocks"}
    return {
        "weak_order": solver.weak_order,
        "strong_order": solver.strong_order,
        "calls": solver.calls,
        "sdes": fits,
        "on": runs.get(tuple(fits), ", ".join(fits)),
        "paper": solver.source,
        "measured": solver_lines.measured().get(name) if cls.__module__.startswith("torchdiff.") else None,
    }


def _fits(solver: Solver, sde: LinearSDE) -> bool:
    return all(isinstance(sde, part.accepts) and part.needs(sde) is None for part in solver.parts())


def _table(kind: str, rows: list[dict[str, Any]]) -> str:
    if kind == "solvers":
        return solver_lines.table(rows)
    lines = [["name", "options", "what it is"]]
    for row in rows:
        options = " ".join(f"{o['name']}={o['default'] or '<' + o['type'] + '>'}" for o in row["options"])
        what = row["summary"] if row["source"] == "built-in" else f"{row['summary']} [{row['source']}]"
        lines.append([row["name"], options, what])
    title = "SDEs" if kind == "sdes" else kind.capitalize()
    return "\n".join([title, *(f"  {line}" for line in aligned(lines))])
