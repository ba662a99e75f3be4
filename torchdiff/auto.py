"""The solver "auto": for a process and a number of network calls, the way that a bench showed to be best.

What it takes is data, auto.json, which `python -m benchmarks.auto` measures and docs/auto.md shows with its evidence.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from torchdiff.registry import SDES
from torchdiff.sde.base import LinearSDE

AUTO = "auto"
# of processes that were not measured: one-block ones, and those of more blocks
OTHERS = ("one_block", "blocks")


class Way(NamedTuple):
    """A row: from so many network calls on, this solver on this grid, or `anywhere` on a grid of the user's.

    Specs. One step of either solver is one network call.
    """

    calls: int
    solver: str
    grid: str
    anywhere: str


def is_auto(solver: Any) -> TypeGuard[str]:
    """Whether it is the word, which names no solver by itself."""
    return isinstance(solver, str) and solver.strip() == AUTO


def way(sde: LinearSDE, calls: int) -> Way:
    """The row for a process with the most calls that are not more than these, or the first."""
    name = SDES.name_of(type(sde))
    rows = ways()
    known = rows[name] if name in rows and name not in OTHERS else rows[OTHERS[sde.blocks > 1]]
    return next((row for row in reversed(known) if row.calls <= calls), known[0])


@cache
def ways() -> dict[str, Sequence[Way]]:
    """The rows by the name of the process and for OTHERS, by calls."""
    text = (Path(__file__).parent / "auto.json").read_text(encoding="utf-8")
    return {name: tuple(Way(*row) for row in rows) for name, rows in json.loads(text).items()}
