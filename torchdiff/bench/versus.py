"""Which contender is better at a budget, and where that cannot be told: paired comparisons of the same noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

from torchdiff.bench.cells import Record
from torchdiff.bench.question import Job, Question, budget
from torchdiff.bench.store import Store
from torchdiff.bench.summary import best_of, columns
from torchdiff.metrics import Gauge
from torchdiff.metrics.gauge import FINE

if TYPE_CHECKING:
    from torchdiff.metrics.gauge import Compared

CHANCE = 0.05  # that any of the contenders at a budget which are alike in truth is told apart


def compare(finished: Sequence[Job], asked: Question, gauges: Mapping[str, Gauge], store: Store) -> None:
    """The best contender at each budget, by each metric, against all others there; kept as records.

    Each seed's two sets are compared by the swap test of torchdiff.metrics; the differences of the seeds are averaged.
    The interval is widened to that of `CHANCE` shared among the rivals, as if differences were normal (Bonferroni).
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
                if key not in store.records and seeds:
                    pairs = [[_of(column[name], seed)["key"] for name in (best, rival)] for seed in seeds]
                    found = [gauge.compare(*map(store.samples, pair)) for pair in pairs]
                    store.add(
                        record(key, metric, budget(asked.way, number), best, rival, found, len(rivals), gauge.floor)
                    )
    store.drop(keep)


def record(
    key: str,
    metric: str,
    where: str,
    best: str,
    other: str,
    found: Sequence[Compared],
    rivals: int,
    floor: tuple[float, float, float],
) -> Record:
    """The record of a comparison of two contenders, a seed each of `found`.

    A tie as in torchdiff.metrics: the interval holds 0, or both means lie below what perfect samples score at most, or
    the difference is below 1 % of the floor's width.
    """
    _, low, high = floor
    wider = NormalDist().inv_cdf(1.0 - CHANCE / (2.0 * rivals)) / NormalDist().inv_cdf(1.0 - CHANCE / 2.0)
    difference = math.fsum(one.difference for one in found) / len(found)
    half = wider * math.sqrt(math.fsum((one.high - one.difference) ** 2 for one in found)) / len(found)
    within = all(
        math.fsum(values) / len(found) <= high for values in zip(*((one.a, one.b) for one in found), strict=True)
    )
    tie = within or abs(difference) <= max(half, FINE * (high - low))
    return {
        "kind": "versus", "key": key, "metric": metric, "budget": where, "best": best, "other": other,
        "difference": difference, "low": difference - half, "high": difference + half, "against": len(found),
        "tie": tie,
    }  # fmt: skip


def _of(cells: Sequence[Record], seed: int) -> Record:
    return next(cell for cell in cells if cell["seed"] == seed)
