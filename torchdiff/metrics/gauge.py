"""A metric on one law and one number of samples: values with intervals, the floor, and fair comparisons."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchdiff.errors import IncompatibleError, OptionError, shown
from torchdiff.metrics.base import Judge, Metric, checked
from torchdiff.registry import METRICS, TARGETS
from torchdiff.targets.base import Target

REPEATS = 39  # the least and the largest of 39 draws hold a 40th with probability 38 / 40
Z = 1.959963984540054  # 97.5 % of a normal law
REAL_SEED = 0x5EA1  # of the reference; the draws of the floor have the seeds above it
CHANCE = 0.05
FINE = 0.01  # of the floor's width: a smaller difference is not told apart, however sure


class Measured(NamedTuple):
    """A metric of samples with 95 % intervals: of its mean over sets of that size, and of what perfect samples score.

    low, high: value +- 1.96 standard deviations of sets drawn from the samples with replacement. Near the floor these
    scatter more than fresh sets do, for energy and mmd 1.7 times.
    floor: the mean of the metric over 39 sets of as many real samples; floor_low, floor_high: the least and the
    largest of them, between which perfect samples lie with a probability of 95 %, whatever the law of the metric.
    """

    value: float
    low: float
    high: float
    floor: float
    floor_low: float
    floor_high: float


class Compared(NamedTuple):
    """The metric of two paired sets. difference = a - b, 95 % interval low to high; better: "a", "b", or None: a tie.

    The interval is the wider of two. That of the swap test: if the two are alike, who is called a and who b does not
    matter, pair by pair, so the difference is held against what it is where random pairs are exchanged; two solvers
    that are alike are ranked with a probability of 5 % at most, whatever metric and size (p is of this test). And that
    of pairs drawn with replacement: what is true of these samples alone is no rank.
    A tie too: both within the floor, for below what perfect samples score less is not better; and differences below
    1 % of the floor's width, for two ways to round are no two qualities.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    better: str | None


class Gauge:
    """A metric ready to judge sets of `count` samples; what does not depend on them is computed once.

    metric: a name with options, or a Metric. real: a target or its name, a tensor (N, *event) of data, or None where
    the metric brings its own. seed: of the real rows, the draws with replacement, the swaps; all is deterministic.
    The reference is 5000 real rows (energy and mmd 2000, w2 and c2st as many as samples, none fewer than samples): of a
    target drawn, all points of a finite set, of data what a random draw of `count` leaves.
    Raises OptionError, IncompatibleError naming what does not fit.
    """

    def __init__(self, metric: Metric | str, real: Target | Tensor | str | None = None, count: int = 0, seed: int = 0):
        self.metric, self.count, self.seed = METRICS.get(metric), count, seed
        kind = type(self.metric)
        if isinstance(count, bool) or not isinstance(count, int) or not kind.least <= count <= kind.most:
            raise OptionError(
                f"metric {METRICS.label(self.metric)} takes {kind.least} to {kind.most} samples, got {shown(count)}"
            )
        self.target = TARGETS.get(real) if isinstance(real, str) else real if isinstance(real, Target) else None
        self.size = count if kind.equal else max(count, kind.rows)
        self.data, self.own = None, False
        if self.target is None:
            self.own = real is None
            self.data = self.metric.reference() if real is None else checked(real, None, 2, 2**62)  # pyright: ignore[reportArgumentType]
            if self.data is None:
                raise IncompatibleError(f"metric {METRICS.label(self.metric)} needs real data, or a target")
            if len(self.data) < 2 * count:
                raise OptionError(
                    f"{count} samples need {2 * count} real rows at least, for the floor is that of real rows against "
                    f"others; got {len(self.data)}: give more data, or fewer samples"
                )
            self.size = min(self.size, len(self.data) - count)

    @cached_property
    def judge(self) -> Judge:
        """What scores samples: judge(x) is the bare number."""
        if self.target is not None:
            draw = self.target.sample if type(self.metric).equal else self.target.reference
            return self.metric.prepare(draw(self.size, REAL_SEED + self.seed), self.target)
        return self._split(0)[0]

    def _split(self, number: int) -> tuple[Judge, Tensor]:
        """A judge on random real rows, and `count` others."""
        assert self.data is not None
        random = torch.Generator().manual_seed((self.seed * 1000 + number) % 2**63)
        order = torch.randperm(len(self.data), generator=random)
        strata = self.metric.strata() if self.own else None
        if strata is not None:  # the first of each class, the second of each, ...
            order = order[(_place(strata[order]) * 2**32 + order).argsort()]
        rows, rest = order[: self.count], order[self.count :]
        rest = rest[torch.randperm(len(rest), generator=random)[: self.size]]
        return self.metric.prepare(self.data[rest], None), self.data[rows]

    @cached_property
    def draws(self) -> tuple[float, ...]:
        """The metric of 39 sets of `count` real samples."""
        found = []
        for i in range(1, REPEATS + 1):
            if self.target is not None:
                judge, x = self.judge, self.target.sample(self.count, seed=REAL_SEED + self.seed + (i << 32))
            else:
                judge, x = self._split(i)
            seen = x if self.own else judge.see(x)
            found.append(float(judge.scores(seen, torch.ones(1, len(x), dtype=torch.int64))[0]))
        return tuple(found)

    @property
    def floor(self) -> tuple[float, float, float]:
        """Mean, least and largest of what real samples score."""
        return math.fsum(self.draws) / REPEATS, min(self.draws), max(self.draws)

    def measure(self, x: Tensor) -> Measured:
        """The metric of x (count, *event). Raises OptionError for another shape, NonFiniteError for nan."""
        scores = self.judge.scores(self.judge.see(self._checked(x)), self._drawn())
        value, half = float(scores[0]), Z * float(scores[1:].std())
        return Measured(value, value - half, value + half, *self.floor)

    def compare(self, a: Tensor, b: Tensor) -> Compared:
        """Two sets of samples (count, *event), row i of both from the same noise. Raises as `measure` does."""
        a, b = self._checked(a), self._checked(b)
        n, swaps = self.count, type(self.metric).swaps
        keep = torch.randint(2, (swaps, n), generator=torch.Generator().manual_seed(self.seed + 1))
        drawn = self._drawn()
        first = torch.cat([drawn, torch.zeros_like(drawn), keep, 1 - keep])
        second = torch.cat([torch.zeros_like(drawn), drawn, 1 - keep, keep])
        seen = self.judge.see(torch.cat([a, b]))
        scores = self.judge.scores(seen, torch.cat([first, second], dim=1))
        value_a, value_b, swap_a, swap_b = scores.split([len(drawn), len(drawn), swaps, swaps])
        paired, swapped = value_a - value_b, (swap_a - swap_b).abs().sort().values
        found = float(paired[0])
        half = max(float(swapped[math.ceil((1.0 - CHANCE) * (swaps + 1)) - 1]), Z * float(paired[1:].std()))
        p = (1 + int((swapped >= abs(found)).sum())) / (swaps + 1)
        values = float(value_a[0]), float(value_b[0])
        tie = max(values) <= self.floor[2] or abs(found) <= max(half, FINE * (self.floor[2] - self.floor[1]))
        better = None if tie else "b" if found > 0.0 else "a"
        return Compared(*values, found, found - half, found + half, p, better)

    def _drawn(self) -> Tensor:
        """(1 + resamples, count): every row once, then draws with replacement."""
        random = torch.Generator().manual_seed(self.seed)
        rows = torch.randint(self.count, (type(self.metric).resamples, self.count), generator=random)
        drawn = torch.zeros(len(rows), self.count, dtype=torch.int64).scatter_add_(1, rows, torch.ones_like(rows))
        return torch.cat([torch.ones(1, self.count, dtype=torch.int64), drawn])

    def _checked(self, x: Tensor) -> Tensor:
        x = self.judge.checked(x)
        if len(x) != self.count:
            raise OptionError(f"this gauge is for {self.count} samples, whose floor it knows; got {len(x)}")
        return x


def _place(classes: Tensor) -> Tensor:
    """(n,) int64: how many rows of its class stand before each row."""
    one = torch.nn.functional.one_hot(classes.long())
    return (one.cumsum(0) * one).sum(1) - 1


def measure(metric: Metric | str, x: Tensor, real: Any = None, *, seed: int = 0) -> Measured:
    """The metric of samples x (B, *event) against a target or data, with its interval and its floor. See Gauge."""
    return Gauge(metric, real, _count(x), seed).measure(x)


def compare(metric: Metric | str, a: Tensor, b: Tensor, real: Any = None, *, seed: int = 0) -> Compared:
    """Which of two sets of samples from the same noise is better, or that it cannot be told. See Compared and Gauge."""
    return Gauge(metric, real, _count(a), seed).compare(a, b)


def _count(x: Any) -> int:
    return len(checked(x, None, 1, 2**62))
