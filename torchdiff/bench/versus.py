"""Which contender is better at a budget, and where that cannot be told: paired comparisons of the same noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

from torch import Tensor

from torchdiff.bench.cells import Record
from torchdiff.bench.question import Job, Question, budget
from torchdiff.bench.store import Store
from torchdiff.bench.summary import best_of, columns
from torchdiff.metrics import Gauge
from torchdiff.metrics.gauge import FINE
from torchdiff.progress import bar

CHANCE = 0.05  # that any of the contenders at a budget which are alike in truth is told apart


class Pair(NamedTuple):
    """Two sets of one seed by a metric: the values, and half of the 95 % interval of their difference."""

    a: float
    b: float
    half: float


def compare(
    finished: Sequence[Job], asked: Question, gauges: Mapping[str, Gauge], store: Store, progress: bool
) -> None:
    """The best contender at each budget, by each metric, against all others there; kept as records.

    Where the two sets' own intervals tell them apart, that is the answer. Else each seed's two sets are compared by the
    paired test of torchdiff.metrics, which sees less difference and costs more. The differences of the seeds are
    averaged; the interval is widened to that of `CHANCE` shared among the rivals (Bonferroni).
    """
    cells = [store.records[job.key] for job in finished]
    todo = [
        (metric, where, best, rival, column)
        for metric in gauges
        for where in (budget(asked.way, number) for number in asked.asked)
        if (best := best_of(column := columns(cells, metric, where)))
        for rival in column
        if rival != best
    ]
    keep = set()
    with bar(len(todo), "comparing" if progress else False, unit="pair") as tick:
        for metric, where, best, rival, column in todo:
            seeds = sorted({c["seed"] for c in column[best]} & {c["seed"] for c in column[rival]})
            rivals = len(column) - 1
            among = f"{rivals} rivals, seeds {','.join(map(str, seeds))}"
            key = f"{metric} | {where} | {best} | {rival} | {among}"
            keep.add(key)
            if key not in store.records and seeds:
                mine, theirs = ([_of(column[name], seed) for seed in seeds] for name in (best, rival))
                found = _compared(gauges[metric], mine, theirs, rivals, store)
                names = {"metric": metric, "budget": where, "best": best, "other": rival}
                store.add({"kind": "versus", "key": key, **names, **found, "against": len(seeds)})
            tick()
    store.drop(keep)


def _compared(
    gauge: Gauge, mine: Sequence[Record], theirs: Sequence[Record], rivals: int, store: Store
) -> dict[str, Any]:
    """The verdict on two contenders, a cell a seed of each."""
    found = verdict([_apart(*two) for two in zip(mine, theirs, strict=True)], rivals, gauge.floor)
    if not found["tie"]:
        return found
    sets = [[store.samples(cell["key"]) for cell in two] for two in zip(mine, theirs, strict=True)]
    return verdict([_paired(gauge, *two) for two in sets], rivals, gauge.floor)


def verdict(pairs: Sequence[Pair], rivals: int, floor: tuple[float, float, float]) -> dict[str, Any]:
    """difference, low, high, and whether it is a tie: as in torchdiff.metrics, the interval holds 0, or both means lie
    below what perfect samples score at most, or the difference is below 1 % of the floor's width."""
    _, low, high = floor
    count = len(pairs)
    wider = NormalDist().inv_cdf(1.0 - CHANCE / (2.0 * rivals)) / NormalDist().inv_cdf(1.0 - CHANCE / 2.0)
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
