"""The table of `torchdiff list solvers`: what each claims beside what was measured, in 120 columns."""

from __future__ import annotations

import json
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

from torchdiff.aligned import aligned

WIDTH = 120
HEAD = ("name", "on", "weak", "vp", "flow", "cld", "mixture", "strong", "path", "calls", "draws", "live")
NOTE = """Claimed order (weak, and strong on one Brownian path) beside the slopes that were measured: on Gaussian data \
of vp, flow and cld, on a mixture, on one path. Calls and draws of a step, live tensors of a run, by default options; \
those with others: docs/solvers.md. `torchdiff check NAME` measures again. Without a solver, `sample` and `plan` take \
"auto": the one that did best on the process with as many calls (docs/auto.md)."""


@cache
def measured() -> dict[str, dict[str, Any]]:
    """The rows of the data file by spec; tests/test_order.py holds it to what is measured."""
    return json.loads((Path(__file__).parents[1] / "solvers" / "measured.json").read_text(encoding="utf-8"))


def table(rows: list[dict[str, Any]]) -> str:
    """The rows of `list`, each a line of numbers and, indented, its options, what it is, and its source."""
    head, *lines = aligned([HEAD, *((row["name"], *_facts(row)) for row in rows)])
    text = [*textwrap.wrap(f"Solvers. {NOTE}", WIDTH), f"  {head}"]
    for row, line in zip(rows, lines, strict=True):
        text += [
            f"  {line}",
            *textwrap.wrap(_words(row), WIDTH, initial_indent=8 * " ", subsequent_indent=8 * " "),
        ]
    return "\n".join(text)


def _facts(row: dict[str, Any]) -> list[str]:
    known = row.get("measured") or {}
    claims = [row.get("on", "-"), _number(row.get("weak_order"), "g")]
    slopes = {name: _number(known.get(name), ".2f") for name in ("vp", "flow", "cld", "mixture", "path")}
    calls = "any" if row.get("calls", 0) is None else str(row.get("calls", "-"))
    rest = [calls, *(_number(known.get(name), "g") for name in ("draws", "live"))]
    strong = _number(known.get("strong"), "g")
    return [*claims, *(slopes[name] for name in ("vp", "flow", "cld", "mixture")), strong, slopes["path"], *rest]


def _number(value: Any, form: str) -> str:
    return "-" if value is None else value if isinstance(value, str) else format(value, form)


def _words(row: dict[str, Any]) -> str:
    options = " ".join(f"{o['name']}={o['default'] or '<' + o['type'] + '>'}" for o in row["options"])
    paper = f" {row['paper']}" if row.get("paper") else ""
    found = f" [{row['source']}]" if row["source"] != "built-in" else ""
    return f"{options + '. ' if options else ''}{row['summary']}{paper}{found}"
