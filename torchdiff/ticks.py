"""The clock of a Brownian path: times as whole numbers of ticks of horizon / 2^24, and what a walk to them costs."""

from __future__ import annotations

from collections.abc import Iterable

from torchdiff.counters import DEPTH, TICKS


def ticks_of(times: Iterable[float], horizon: float) -> list[int]:
    """Times in ticks, each to the nearest. Raises ValueError for one more than an ulp of horizon outside."""
    ulp = horizon * 2.0**-52
    ticks = []
    for k, t in enumerate(times):
        if not -ulp <= t <= horizon + ulp:
            raise ValueError(f"brownian: times[{k}] = {t:g} is outside [0, {horizon:g}]; the path ends there")
        ticks.append(min(max(round(t / horizon * TICKS), 0), TICKS))
    return ticks


def rounded(times: Iterable[float], horizon: float) -> list[float]:
    """The times that a path on [0, horizon] has in their place: the nearest multiples of horizon / 2^24."""
    return [tick * (horizon / TICKS) for tick in ticks_of(times, horizon)]


def depth_of(tick: int) -> int:
    """How many levels down the walk to a time ends: none at both ends of the path."""
    return 0 if tick in (0, TICKS) else DEPTH + 1 - (tick & -tick).bit_length()


def shared(a: int, b: int) -> int:
    """How many levels the walks to two times have in common."""
    both = min(depth_of(a), depth_of(b))
    return both if both == 0 or a == b else min(both, DEPTH - (a ^ b).bit_length())


def normals_per_element(times: Iterable[float], horizon: float, integral: bool = False) -> int:
    """The normals that one call makes for each element on a CPU, where consecutive times share levels."""
    ticks = ticks_of(times, horizon)
    count = 2  # of the root
    for k, tick in enumerate(ticks):
        known = shared(ticks[k - 1], tick) if k > 0 else 0
        wanted = shared(tick, ticks[k + 1]) if k + 1 < len(ticks) else 0
        steps = depth_of(tick) - known
        stops = steps > 0 and wanted < depth_of(tick)  # the walk ends without a cell: Z is enough for W
        count += 2 * steps - (stops and not integral)
    return count
