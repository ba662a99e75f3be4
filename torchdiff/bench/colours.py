"""One colour a solver, one dash a grid, the same in every picture, and inks that a page may turn light or dark."""

from __future__ import annotations

from typing import NamedTuple

from torchdiff.bench import specs
from torchdiff.bench.cells import Cells
from torchdiff.bench.summary import contenders

INK, SOFT, RULE, PAPER = "#20303c", "#66727b", "#d3d9dd", "#fefefe"
FLOOR = "#8b979f"
FAINT = "#a9b2b8"
# readable on white and on near black: luminances of 0.15 to 0.35
HUES = ("#2b7fc3", "#d64550", "#2f9e68", "#d9822b", "#8e62c9", "#1798a6", "#c9579a", "#8c7f3d", "#5a6fe0", "#a0583c")
DASHES = ("-", "--", ":", "-.")
MARKS = ("o", "s", "^", "D")


class Look(NamedTuple):
    """colour, dash and mark of a line; hollow marks are of other libraries; faint lines have no label."""

    colour: str
    dash: str
    mark: str
    hollow: bool
    faint: bool


def looks(cells: Cells, loud: set[str]) -> dict[str, Look]:
    """The look of each contender; those that are not in `loud` are drawn faint."""
    names = contenders(cells)
    solvers = list(dict.fromkeys(n.rpartition(" | ")[0] for n in names if n in loud))
    grids = list(dict.fromkeys(n.rpartition(" | ")[2] for n in names if not n.endswith("its own")))
    found = {}
    for name in names:
        solver, _, grid = name.rpartition(" | ")
        if name not in loud:
            found[name] = Look(FAINT, "-", "", False, True)
            continue
        place = solvers.index(solver)
        lap = grids.index(grid) if grid in grids else 0
        theirs = specs.theirs(solver)
        dash = "--" if theirs else DASHES[(lap + place // len(HUES)) % len(DASHES)]
        found[name] = Look(HUES[place % len(HUES)], dash, MARKS[lap % len(MARKS)], theirs, False)
    return found
