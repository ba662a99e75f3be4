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

CHANCE = 0.05  # that any of the contenders at a budget which are alike in truth is told apart


class Pair(NamedTuple):
    """Two sets of one seed by a metric: the values, and half of the 95 % interval of their difference."""

    a: float
    b: float
    half: float


def compare(finished: Sequence[Job], asked: Question, gauges: Mapping[str, Gauge], store: Store) -> None:
    """The best contender at each budget, by each metric, against all others there; kept as records.

    Where the two sets' own intervals tell them apart, that is the answer. Else each seed's two sets are compared by the
    paired test of torchdiff.metrics, which sees less difference and costs more. The differences of the seeds are
    averaged; the interval is widened to that of `CHANCE` shared among the rivals (Bonferroni).
    """
    cells = [store.records[job.key] for job in finished]
    keep = set()
    for metric, gauge in gauges.items():
        for number in asked.asked:
            column = columns(cells, metric, budget(asked.way, number))
            best = best_of(column)
            rivals = [name for name in column if name != best]
            for rival in rivals:
                assert best is not None
                seeds = sorted({c["seed"] for c in column[best]} & {c["seed"] for c in column[rival]})
                among = f"{len(rivals)} rivals, seeds {','.join(map(str, seeds))}"
                key = f"{metric} | {budget(asked.way, number)} | {best} | {rival} | {among}"
                keep.add(key)
                if key in store.records or not seeds:
                    continue
                mine, theirs = ([_of(column[name], seed) for seed in seeds] for name in (best, rival))
                found = verdict([_apart(*two) for two in zip(mine, theirs, strict=True)], len(rivals), gauge.floor)
                if found["tie"]:
                    pairs = [
                        _paired(gauge, store.samples(a["key"]), store.samples(b["key"]))
                        for a, b in zip(mine, theirs, strict=True)
                    ]
                    found = verdict(pairs, len(rivals), gauge.floor)
                names = {"metric": metric, "budget": budget(asked.way, number), "best": best, "other": rival}
                store.add({"kind": "versus", "key": key, **names, **found, "against": len(seeds)})
    store.drop(keep)


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
