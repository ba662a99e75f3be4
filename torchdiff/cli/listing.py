"""List SDEs, solvers and grids with their options. Plugins are listed from their metadata; none is loaded."""

from __future__ import annotations

import argparse
import json
from typing import Any

from torchdiff.errors import TorchdiffError, UnknownNameError, shown
from torchdiff.options import REQUIRED
from torchdiff.registry import GRIDS, SDES, SOLVERS, Registry

KINDS = {"sdes": SDES, "solvers": SOLVERS, "grids": GRIDS}


def run(args: argparse.Namespace) -> int:
    kinds, pattern = list(KINDS), args.pattern or "*"
    if args.kind in KINDS:
        kinds = [args.kind]
    elif args.kind is not None:  # `torchdiff list 'dp*'`: a pattern for all kinds
        if args.pattern is not None:
            raise UnknownNameError(f"expected sdes, solvers or grids, got {shown(args.kind)}")
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
    """Order, network calls a step and what it runs on, of a solver that is here and needs no options."""
    cls = SOLVERS.find(name)
    if cls is None:
        return {}
    try:
        solver = SOLVERS.get(cls)
    except TorchdiffError:  # it cannot be built without options
        return {}
    needs = [part.accepts for part in solver.parts()]
    classes = ((sde, SDES.find(sde)) for sde in SDES)
    fits = [sde for sde, known in classes if known is not None and all(issubclass(known, need) for need in needs)]
    return {"order": solver.order, "calls": solver.calls, "sdes": fits}


def _table(kind: str, rows: list[dict[str, Any]]) -> str:
    head = ["name", "options", *(["order", "calls", "on"] if kind == "solvers" else []), "what it is"]
    lines = [head]
    for row in rows:
        options = " ".join(f"{o['name']}={o['default'] or '<' + o['type'] + '>'}" for o in row["options"])
        facts = []
        if kind == "solvers":
            order = "-" if row.get("order") is None else f"{row['order']:g}"
            calls = "any" if row.get("calls", 0) is None else str(row.get("calls", "-"))
            facts = [order, calls, " ".join(row.get("sdes", ["-"]))]
        what = row["summary"] if row["source"] == "built-in" else f"{row['summary']} [{row['source']}]"
        lines.append([row["name"], options, *facts, what])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    title = {"sdes": "SDEs", "solvers": "Solvers", "grids": "Grids"}[kind]
    cells = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    return "\n".join([title, *(f"  {line}" for line in cells)])
