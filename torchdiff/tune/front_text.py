"""A recommendation as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchdiff.registry import SDES

if TYPE_CHECKING:
    from torchdiff.tune.front import Tuned

NOTE = (
    "error: what the steps add to the error of the standard deviation, relative to the data and without cancelling,\n"
    "on the spectrum and a family around it; W2/size: on the spectrum's Gaussian itself, where steps may cancel."
)


def table(found: Tuned) -> str:
    """The three best for each number of calls, and the best on a fixed grid; the last line says what to take."""
    lines = [("calls", "solver", "grid", "steps", "error", "W2/size", "")]
    for asked in sorted({one.asked for one in found.candidates}):
        same = [one for one in found.candidates if one.asked == asked]
        fixed = next((one for one in same if not one.grid.startswith("optimal")), None)
        for one in [*same[:3], *([fixed] if fixed is not None and fixed not in same[:3] else [])]:
            mark = "front" if one in found.front else "best fixed grid" if one is fixed else ""
            numbers = (str(one.steps), f"{one.error:.4f}", f"{one.w2:.4f}")
            lines.append((str(one.calls), one.solver, one.grid, *numbers, mark))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    sides = (str.rjust, str.ljust, str.ljust, str.rjust, str.rjust, str.rjust, str.ljust)
    body = [
        "  ".join(side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True)).rstrip()
        for line in lines
    ]
    title = (
        f"{len(found.candidates)} ways from noise to data on {SDES.label(found.sde)}, measured exactly on Gaussian "
        f"data; the three best for as many calls"
    )
    why = [f"left out, {why}: {', '.join(names)}" for why, names in _reasons(found.left_out).items()]
    best = found.best
    take = (
        f"take {best.solver} on grid {best.grid} with {best.steps} steps, {best.calls} network calls: "
        f"error {best.error:.4f}"
    )
    return "\n".join([title, "", body[0], "-" * max(map(len, body)), *body[1:], "", NOTE, *why, "", take])


def _reasons(left_out: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, why in left_out.items():
        found.setdefault(why, []).append(name)
    return found
