"""Cells put together: by metric, budget and contender, over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torchdiff.bench.cells import Cells, Record


class Score(NamedTuple):
    """One contender at one budget.

    value, low, high: the mean over seeds and its 95 % interval; None where a run failed.
    calls: network calls that were counted; seconds: of a run, update: the part outside of the network, both the median
    over seeds; exact: on Gaussian data. mark: "best" if it is told apart from all others, "tie" if it is among
    those that cannot be told from the best, "" else. at_floor: as good as perfect samples, whose scores it lies among.
    chose: what a contender that chooses took here, "" for others.
    """

    solver: str
    grid: str
    steps: int
    calls: int
    value: float | None
    low: float | None
    high: float | None
    seconds: float
    update: float
    exact: float | None
    mark: str
    at_floor: bool
    seeds: int
    problem: str | None
    chose: str


def name(cell: Record) -> str:
    """Of what competes, as `question.entry` has it."""
    return f"{cell['solver']} | {cell['grid']}"


def at(cell: Record) -> str:
    """The budget of a cell, as `question.budget` has it."""
    return f"{cell['way']}={cell['asked']}"


def columns(cells: Iterable[Record], metric: str, budget: str) -> dict[str, list[Record]]:
    """The sound cells at a budget by contender, in order."""
    found: dict[str, list[Record]] = {}
    for cell in cells:
        if at(cell) == budget and metric in cell["metrics"]:
            found.setdefault(name(cell), []).append(cell)
    return {key: [c | {"score": c["metrics"][metric]} for c in mine] for key, mine in found.items()}


def best_of(column: dict[str, list[Record]]) -> str | None:
    """The contender with the smallest mean, among those with the most seeds; the first of equals."""
    if not column:
        return None
    most = max(map(len, column.values()))
    full = [key for key, mine in column.items() if len(mine) == most]
    return min(full, key=lambda key: mean(c["score"]["value"] for c in column[key]))


def floor(cells: Cells, metric: str) -> tuple[float, float, float] | None:
    """(mean, low, high) of what perfect samples score; None before any cell is judged."""
    for cell in cells:
        if metric in cell["metrics"]:
            score = cell["metrics"][metric]
            return score["floor"], score["floor_low"], score["floor_high"]
    return None


def contenders(cells: Cells) -> list[str]:
    """In the order of the question."""
    order = {spec: place for place, spec in enumerate(cells.header["config"]["solvers"])}
    return sorted(dict.fromkeys(map(name, cells)), key=lambda entry: order[entry.rpartition(" | ")[0]])


def budgets(cells: Cells) -> list[str]:
    config = cells.header["config"]
    return [f"{config['way']}={number}" for number in config["asked"]]


def told(budget: str) -> str:
    """ "10 calls" of "calls=10"."""
    way, _, count = budget.partition("=")
    return f"{count} {way if count != '1' else way[:-1]}"


def score(cells: Cells, metric: str, contender: str, budget: str) -> Score | None:
    """What one contender did at one budget; None where it was not run."""
    mine = [c for c in cells if name(c) == contender and at(c) == budget]
    if not mine:
        return None
    sound = [c["metrics"][metric] for c in mine if metric in c["metrics"]]
    broken = next((c["problem"] for c in mine if c["problem"]), None)
    value = low = high = None
    near = False
    if sound and broken is None:
        value = mean(s["value"] for s in sound)
        half = math.sqrt(math.fsum((s["high"] - s["value"]) ** 2 for s in sound)) / len(sound)
        low, high = value - half, value + half
        near = value <= sound[0]["floor_high"]
    first = mine[0]
    return Score(
        first["solver"], first["grid"], first["steps"], first["calls"], value, low, high,
        median(c["timing"]["whole"] for c in mine), median(c["timing"]["update"] for c in mine), first["exact_w2"],
        mark(cells, metric, contender, budget), near, len(mine), broken, first["chose"],
    )  # fmt: skip


def choices(cells: Cells) -> list[str]:
    """A line for each contender that chooses: what it took at which budgets."""
    lines = []
    for contender in contenders(cells):
        took: dict[str, list[str]] = {}
        for cell in cells:
            if name(cell) == contender and cell["chose"]:
                took.setdefault(cell["chose"], []).append(str(cell["asked"]))
        if took:
            way = cells.header["config"]["way"]
            parts = [f"{chose} with {', '.join(dict.fromkeys(asked))} {way}" for chose, asked in took.items()]
            lines.append(f"{contender.rpartition(' | ')[0]}: {'; '.join(parts)}")
    return lines


def mark(cells: Cells, metric: str, contender: str, budget: str) -> str:
    """ "best", "tie" or "": see Score."""
    here = [v for v in cells.versus if v["metric"] == metric and v["budget"] == budget]
    if not here:  # nobody to be better than
        return ""
    ties = [v["other"] for v in here if v["tie"]]
    if contender == here[0]["best"]:
        return "tie" if ties else "best"
    return "tie" if contender in ties else ""


def mean(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found)


def median(values: Iterable[float]) -> float:
    found: Sequence[float] = sorted(values)
    half = len(found) // 2
    return found[half] if len(found) % 2 else 0.5 * (found[half - 1] + found[half])
