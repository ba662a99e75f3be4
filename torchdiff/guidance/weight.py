"""How strong a guidance is: one number, one a sample, or a function of the level, in an interval or everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from torchdiff.conventions import TIMES
from torchdiff.errors import OptionError, shown
from torchdiff.sde.base import Level

CLOCKS = ("sigma", "t")
Scale = float | Sequence[float] | Tensor | Callable[[Level], float]


@dataclass(frozen=True)
class Weight:
    """The weight of a guidance at a level.

    scale:    a number, one for each sample, or a function Level -> float.
    interval: (low, high): it counts where low < clock <= high, elsewhere the weight is `idle`. None: everywhere.
    clock:    "sigma", the noise-to-signal ratio sigma / alpha, or "t".
    """

    scale: float | tuple[float, ...] | Callable[[Level], float]
    interval: tuple[float, float] | None = None
    clock: str = "sigma"
    idle: float = 1.0

    @classmethod
    def of(cls, scale: Any, interval: Any = None, clock: str = "sigma", idle: float = 1.0) -> Weight:
        """Raises OptionError for a scale that is not finite or has more than one dimension, and for no interval."""
        return cls(_scale(scale), _interval(interval), _clock(clock), idle)

    @property
    def each_sample(self) -> bool:
        return isinstance(self.scale, tuple)

    def counts(self, level: Level) -> bool:
        if self.interval is None:
            return True
        return self.interval[0] < TIMES[self.clock](level) <= self.interval[1]

    def at(self, level: Level) -> float:
        """The weight that all samples have at a level. Raises OptionError where a function gives no finite number."""
        if not self.counts(level):
            return self.idle
        assert not isinstance(self.scale, tuple)
        weight = float(self.scale(level)) if callable(self.scale) else self.scale
        if not math.isfinite(weight):
            raise OptionError(f"the guidance scale is {weight} at t = {level.t:g}; its function returns finite numbers")
        return weight

    def of_each(self, levels: Sequence[Level], batch: int) -> list[float]:
        """One weight for all samples, or one a sample; levels: one for all, or one a sample."""
        if not isinstance(self.scale, tuple):
            return [self.at(level) for level in levels]
        if len(self.scale) != batch:
            raise OptionError(
                f"the guidance scale has {len(self.scale)} numbers for a batch of {batch}; give one a sample, or one "
                f"for all"
            )
        if len(levels) == 1:
            return list(self.scale) if self.counts(levels[0]) else [self.idle]
        return [s if self.counts(level) else self.idle for s, level in zip(self.scale, levels, strict=True)]


def _scale(scale: Any) -> Any:
    if callable(scale) and not isinstance(scale, Tensor):
        return scale
    values = scale.tolist() if hasattr(scale, "tolist") else scale  # a tensor, an array, a number of NumPy
    numbers = values if isinstance(values, list | tuple) else [values]
    if not numbers or not all(isinstance(s, int | float) and not isinstance(s, bool) for s in numbers):
        came = f"shape {tuple(scale.shape)}" if hasattr(scale, "shape") else shown(scale)
        raise OptionError(
            f"a guidance scale is a number, one for each sample (B,), or a function Level -> float, got {came}"
        )
    if not all(map(math.isfinite, numbers)):
        raise OptionError(f"a guidance scale is finite, got {shown(scale)}")
    return tuple(map(float, numbers)) if isinstance(values, list | tuple) else float(values)


def _interval(interval: Any) -> tuple[float, float] | None:
    if interval is None:
        return None
    try:
        low, high = map(float, interval)
    except (TypeError, ValueError):
        low = high = math.nan
    if not low < high:  # false for nan too
        raise OptionError(f"interval is (low, high) with low < high, got {shown(interval)}")
    return low, high


def _clock(clock: str) -> str:
    if clock not in CLOCKS:
        raise OptionError(f"an interval is in {' or '.join(map(repr, CLOCKS))}, got {shown(clock)}")
    return clock
