"""Which contender is better, at a budget and across budgets, and where that cannot be told: paired comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Sized
from statistics import NormalDist
from typing import Any, NamedTuple

from torch import Tensor

from torchdiff.bench.cells import Record
from torchdiff.bench.question import Job, Question, budget
from torchdiff.bench.store import Store
from torchdiff.bench.summary import best_of, columns, mean
from torchdiff.metrics import Gauge
from torchdiff.metrics.gauge import FINE
from torchdiff.progress import bar

CHANCE = 0.05  # that any of the contenders at a budget which are alike in truth is told apart


class Pair(NamedTuple):
    """Two sets of one seed by a metric: the values, and half of the 95 % interval of their difference."""

    a: float
    b: float
    half: float


class Duel(NamedTuple):
    """Two contenders to be compared, a cell a seed of each. among: how many pairs share the chance of an error."""

    key: str
    names: dict[str, str]
    mine: list[Record]
    theirs: list[Record]
    among: int


def compare(
    finished: Sequence[Job], asked: Question, gauges: Mapping[str, Gauge], store: Store, progress: bool
) -> list[str]:
    """The comparisons, kept as records; returns their keys in order.

    By each metric: the best contender at each budget against all others there, and the best of all against the best at
    each budget of fewer calls. Where the two sets' own intervals tell them apart, that is the answer. Else each seed's
    two sets are compared by the paired test of torchdiff.metrics, which sees less difference and costs more: row i of
    both is from the same noise, at another budget too. The differences of the seeds are averaged; the interval is
    widened to that of `CHANCE` shared among all pairs (Bonferroni), not among those that are held against the best
    alone: which one is the best was seen in the same numbers, and of 20 that are alike it would be put above another 1
    time in 4.
    """
    cells = [store.records[job.key] for job in finished]
    budgets = [budget(asked.way, number) for number in asked.asked]
    duels = []
    for metric in gauges:
        fields = {where: columns(cells, metric, where) for where in budgets}
        duels += [duel for where in budgets for duel in _within(metric, where, fields[where])]
        duels += _across(metric, fields)
    with bar(len(duels), "comparing" if progress else False, unit="pair") as tick:
        for key, names, mine, theirs, among in duels:
            if key not in store.records:
                found = _compared(gauges[names["metric"]], mine, theirs, among, store)
                store.add({"kind": names["kind"], "key": key, **names, **found, "against": len(mine)})
            tick()
    keys = [duel.key for duel in duels]
    store.drop(set(keys))
    return keys


def _within(metric: str, where: str, column: dict[str, list[Record]]) -> list[Duel]:
    """The best at a budget against each other one there."""
    best, found = best_of(column), []
    for rival, theirs in column.items():
        if best is not None and rival != best:
            names = {"kind": "versus", "metric": metric, "budget": where, "best": best, "other": rival}
            words = f"{metric} | {where} | {best} | {rival}"
            found += _duel(words, names, column[best], theirs, _pairs(column))
    return found


def _across(metric: str, fields: Mapping[str, dict[str, list[Record]]]) -> list[Duel]:
    """The best of all against the best at each budget where that made fewer calls."""
    firsts = {where: (best, column[best]) for where, column in fields.items() if (best := best_of(column))}
    if not firsts:
        return []
    top = min(firsts, key=lambda where: mean(c["score"]["value"] for c in firsts[where][1]))
    best, mine = firsts[top]
    fewer = {where: first for where, first in firsts.items() if first[1][0]["calls"] < mine[0]["calls"]}
    found = []
    for where, (other, theirs) in fewer.items():
        names = {"kind": "across", "metric": metric, "budget": top, "best": best, "cheaper": where, "other": other}
        found += _duel(f"{metric} | {top} | {best} | {where} | {other}", names, mine, theirs, _pairs(firsts))
    return found


def _pairs(field: Sized) -> int:
    return len(field) * (len(field) - 1) // 2


def _duel(
    words: str, names: dict[str, str], mine: Sequence[Record], theirs: Sequence[Record], among: int
) -> list[Duel]:
    """The comparison over the seeds that both have; none without such a seed."""
    seeds = sorted({c["seed"] for c in mine} & {c["seed"] for c in theirs})
    chose = "".join(f" | {side[0]['chose']}" for side in (mine, theirs) if side[0]["chose"])
    key = f"{words}{chose} | {among} pairs, seeds {','.join(map(str, seeds))}"
    ours, others = ([_of(cells, seed) for seed in seeds] for cells in (mine, theirs))
    return [Duel(key, names, ours, others, among)] if seeds else []


def _compared(
    gauge: Gauge, mine: Sequence[Record], theirs: Sequence[Record], among: int, store: Store
) -> dict[str, Any]:
    """The verdict on two contenders, a cell a seed of each."""
    found = verdict([_apart(*two) for two in zip(mine, theirs, strict=True)], among, gauge.floor)
    if not found["tie"]:
        return found
    sets = [[store.samples(cell["key"]) for cell in two] for two in zip(mine, theirs, strict=True)]
    return verdict([_paired(gauge, *two) for two in sets], among, gauge.floor)


def verdict(pairs: Sequence[Pair], among: int, floor: tuple[float, float, float]) -> dict[str, Any]:
    """difference, low, high, and whether it is a tie: as in torchdiff.metrics, the interval holds 0, or both means lie
    below what perfect samples score at most, or the difference is below 1 % of the floor's width."""
    _, low, high = floor
    count = len(pairs)
    wider = NormalDist().inv_cdf(1.0 - CHANCE / (2.0 * among)) / NormalDist().inv_cdf(1.0 - CHANCE / 2.0)
    a, b = (math.fsum(values) / count for values in zip(*((pair.a, pair.b) for pair in pairs), strict=True))
    half = wider * math.sqrt(math.fsum(pair.half**2 for pair in pairs)) / count
    tie = max(a, b) <= high or abs(a - b) <= max(half, FINE * (high - low))
    return {"difference": a - b, "low": a - b - half, "high": a - b + half, "tie": tie}


def _apart(a: Record, b: Record) -> Pair:
    """As if the two had nothing in common: wider than what is true of samples from the same noise."""
    x, y = a["score"], b["score"]
    return Pair(x["value"], y["value"], math.hypot(x["high"] - x["value"], y["high"] - y["value"]))


def _paired(gauge: Gauge, a: Tensor, b: Tensor) -> Pair:
    found = gauge.compare(a, b)
    return Pair(found.a, found.b, found.high - found.difference)


def _of(cells: Sequence[Record], seed: int) -> Record:
    return next(cell for cell in cells if cell["seed"] == seed)
