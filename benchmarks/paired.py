"""Ratios of two timings that share whatever else the machine does: A B A B ..., the median of the pairwise ratios."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

Clock = Callable[[], float]  # runs something once and says how many seconds it took


class Spread(NamedTuple):
    """Median and quartiles."""

    low: float
    median: float
    high: float


class Pairs(NamedTuple):
    """Median seconds of both sides, and the spread of theirs / ours over the rounds. Above 1 ours is faster."""

    ours: float
    theirs: float
    ratio: Spread
    rounds: int


class Timed:
    """A clock: seconds a call, averaged over as many calls as last 2 ms; below that the timer and wake-ups show."""

    def __init__(self, call: Callable[[], object], least: float = 2e-3) -> None:
        self.call, self.least, self.number = call, least, 0

    def __call__(self) -> float:
        if self.number == 0:
            self.call()  # compiles, allocates, fills caches
            self.number = 1
            # the shortest of three: one that the system interrupted says nothing of the work
            while (spent := min(self._run() for _ in range(3))) < self.least:
                self.number = max(2 * self.number, int(self.number * self.least / max(spent, 1e-9)))
        return self._run() / self.number

    def _run(self) -> float:
        call, rounds = self.call, range(self.number)
        begin = perf_counter()
        for _ in rounds:
            call()
        return perf_counter() - begin


class Slope:
    """A clock: seconds a step, from a short and a long run; what is paid once a run drops out.

    A run before them is not timed: the other side has left cold caches, which cost the first run 100 us.
    """

    def __init__(self, run: Callable[[int], object], short: int = 50, long: int = 850) -> None:
        self.run, self.short, self.long = run, short, long

    def __call__(self) -> float:
        self.run(self.short)
        begin = perf_counter()
        self.run(self.short)
        middle = perf_counter()
        self.run(self.long)
        return (perf_counter() - middle - (middle - begin)) / (self.long - self.short)


def spread(values: list[float]) -> Spread:
    """Quartiles that are values or lie between two neighbours (inclusive); one value is its own spread."""
    if not values:
        raise ValueError("spread: no values; at least one round is needed")
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def compare(ours: Clock, theirs: Clock, *, seconds: float = 4.0, least: int = 9, most: int = 200) -> Pairs:
    """Both sides in turn until `seconds` have passed, at least `least` and at most `most` rounds, after a warm-up.

    The garbage collector runs before, not during: its pauses would fall on one side of a pair.
    """
    ours()
    theirs()
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        times: list[tuple[float, float]] = []
        end = perf_counter() + seconds
        while len(times) < least or (perf_counter() < end and len(times) < most):
            times.append((ours(), theirs()))
    finally:
        if collecting:
            gc.enable()
    return summary(times)


def summary(times: list[tuple[float, float]]) -> Pairs:
    """Of rounds (ours, theirs)."""
    mine, their = ([pair[side] for pair in times] for side in (0, 1))
    ratios = [b / a for a, b in times]
    return Pairs(statistics.median(mine), statistics.median(their), spread(ratios), len(times))
