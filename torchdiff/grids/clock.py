"""Equal steps in a function of t: for every SDE, of any number of blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torchdiff.grids.base import Spaced
from torchdiff.registry import GRIDS
from torchdiff.sde.base import LinearSDE


@GRIDS.register("uniform")
@dataclass(frozen=True)
class Uniform(Spaced):
    """Equal steps in t."""

    def between(self, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
        return lambda fraction: t_max + (t_min - t_max) * fraction


@GRIDS.register("quadratic")
@dataclass(frozen=True)
class Quadratic(Spaced):
    """Equal steps in sqrt(t): dense at the data end.

    Source: Song et al. 2021, arXiv:2010.02502, appendix D.2.
    """

    def between(self, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
        high, low = math.sqrt(t_max), math.sqrt(t_min)
        return lambda fraction: (high + (low - high) * fraction) ** 2
