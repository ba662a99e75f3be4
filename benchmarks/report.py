"""What a run of the benchmarks found, as rows, as markdown."""

from __future__ import annotations

from dataclasses import dataclass

from .paired import Spread

HEAD = """\
# Benchmarks

Made by `make bench`; edit benchmarks/remarks.md, not this file.

{facts}

How: both sides of a ratio run in one process and in turn, A B A B ..., after a warm-up. A ratio is the median over the
rounds of theirs / ours of that round, with its quartiles in brackets; above 1 ours is faster (or smaller). Times are
medians of seconds a call, over as many calls as last 2 ms. All sides have the same threads and the same wait policy.
Outputs are fresh memory on both sides, unless the case says that they are given. Nothing is recorded for autograd. The
rows against "itself" compare a thing with itself: their distance from 1 is the noise floor of the method here.
"""


@dataclass(frozen=True)
class Row:
    """One comparison. ours and theirs: medians in `unit`, "s" or "B"; ratio: of theirs / ours, over `rounds` rounds.

    least: the bar of the ratio; most: the bar of ours. rival: False where theirs is a limit or ours itself, so that
    a ratio below 1 is no defeat.
    """

    case: str
    against: str
    unit: str
    ours: float
    theirs: float
    ratio: Spread
    rounds: int
    least: float | None = None
    most: float | None = None
    rival: bool = True
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether every bar is; None without one."""
        if self.least is None and self.most is None:
            return None
        return (self.least is None or self.ratio.median >= self.least) and (self.most is None or self.ours <= self.most)

    @property
    def bar(self) -> str:
        bars = [] if self.least is None else [f">= {self.least:g}"]
        return " and ".join(bars if self.most is None else [*bars, f"<= {quantity(self.most, self.unit)}"])


def quantity(value: float, unit: str) -> str:
    """Three digits with a prefix: 1.23 ms, 64.0 MiB."""
    steps = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")) if unit == "s" else ()
    steps = steps or ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
    size, name = next((step for step in steps if abs(value) >= 0.9995 * step[0]), steps[-1])
    scaled = value / size
    return f"{scaled:.0f} {name}" if abs(scaled) >= 99.95 else f"{scaled:#.3g} {name}"


def document(facts: dict[str, str], rows: list[Row], absent: list[str], remarks: str) -> str:
    """The whole of RESULTS.md. absent: cases that did not run, with the reason."""
    listed = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    parts = [HEAD.format(facts=listed), table(rows), section("Not measured", absent)]
    parts.append(section("Where we lose, and to whom", losses(rows) or ["In no row of this run."]))
    parts.append(section("Bars not met", misses(rows)))
    return "\n".join(part.rstrip() + "\n" for part in [*parts, remarks] if part.strip())


def table(rows: list[Row]) -> str:
    """One line a row, those against itself first."""
    lines = ["| case | against | ours | theirs | ratio | bar | met | |", "|---|---|---|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: row.against != "itself"):
        low, median, high = (f"{value:.3g}" for value in row.ratio)
        met = {True: "yes", False: "**no**", None: ""}[row.met]
        ours, theirs = quantity(row.ours, row.unit), quantity(row.theirs, row.unit)
        cells = [row.case, row.against, ours, theirs, f"{median} [{low}, {high}]", row.bar, met, row.note]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def section(title: str, lines: list[str]) -> str:
    """Nothing without lines."""
    return f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines) if lines else ""


def losses(rows: list[Row]) -> list[str]:
    """Every row of a rival whose ratio is below 1, worst first, and whether the quartiles reach 1."""
    lost = sorted((row for row in rows if row.rival and row.ratio.median < 1.0), key=lambda row: row.ratio.median)
    word = {"s": "faster", "B": "smaller"}
    return [
        f"{row.case}: {row.against} is {1 / row.ratio.median:.3g} times {word[row.unit]}"
        + (" (1 lies within the quartiles)" if row.ratio.high >= 1.0 else "")
        for row in lost
    ]


def misses(rows: list[Row]) -> list[str]:
    """Every row that does not reach its bar."""
    return [
        f"{row.case}, against {row.against}: {row.ratio.median:.3g} and {quantity(row.ours, row.unit)}; bar {row.bar}"
        for row in rows
        if row.met is False
    ]
