"""Which intervals of a Brownian path a formula asks for. The path's clock is the SDE's time t, its horizon t_max."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

from torchdiff.counters import TICKS
from torchdiff.errors import PlanError
from torchdiff.sde.base import Level, LinearSDE
from torchdiff.solvers.base import Solver, Span
from torchdiff.ticks import ticks_of

Interval = tuple[float, float]  # start and end, in the order in which the formula goes


def duration(sde: LinearSDE, interval: Interval) -> float:
    """How long an interval is on the path's clock, which counts ticks of t_max / 2^24. PlanError for no tick at all."""
    try:
        start, end = ticks_of(interval, sde.t_max)
    except ValueError as error:
        raise PlanError(f"a Brownian path of {sde!r} has no interval {interval!r}: {error}") from error
    if start == end:
        raise PlanError(
            f"the interval from t = {interval[0]!r} to t = {interval[1]!r} is shorter than the ticks of a Brownian "
            f"path on [0, {sde.t_max:g}], {sde.t_max / TICKS:.3g}; take fewer steps, or noise='white'"
        )
    return abs(end - start) * (sde.t_max / TICKS)


def normaliser(sde: LinearSDE, interval: Interval) -> float:
    """What makes a standard normal of the increment."""
    return 1.0 / math.sqrt(duration(sde, interval))


def check_apart(sde: LinearSDE, intervals: Iterable[Interval]) -> None:
    """Raises PlanError for an interval without a tick and for two that overlap: their normals were not independent."""
    ordered = []
    for interval in intervals:
        duration(sde, interval)
        ordered.append((min(interval), max(interval)))
    for (_, end), (start, _) in pairwise(sorted(ordered)):
        if start < end:
            raise PlanError(
                f"noise was asked for over intervals that overlap from t = {start!r} to t = {end!r}: increments of one "
                f"Brownian path over them are not independent; let them share an end at most, or take noise='white'"
            )


class Claims:
    """The intervals that one step of one part has asked noise for.

    The first call for an interval gets the path's increment over it. An empty interval, as correctors have, and one
    asked for again get white noise of their own draw: there is no more than one increment to give. So do all calls of a
    part that stays at its level. Raises PlanError for an interval beyond the step's own, and as `check_apart` does.
    """

    def __init__(self, sde: LinearSDE, part: Solver, span: Span) -> None:
        self.sde, self.part, self.span = sde, part, span
        self.claimed: list[Interval] = []

    def claim(self, start: Level, end: Level) -> Interval | None:
        """The interval, or None where white noise is due."""
        interval = (start.t, end.t)
        known = interval in self.claimed or interval[::-1] in self.claimed
        if not self.part.moves or start.t == end.t or known:
            return None
        low, high = sorted((self.span.cur.t, self.span.nxt.t))
        if not low <= min(interval) <= max(interval) <= high:
            raise PlanError(
                f"{self.part!r} asked for noise from t = {start.t!r} to t = {end.t!r} in a step from "
                f"t = {self.span.cur.t!r} to t = {self.span.nxt.t!r}; on a Brownian path a step has its own interval"
            )
        check_apart(self.sde, [*self.claimed, interval])
        self.claimed.append(interval)
        return interval
