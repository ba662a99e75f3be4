"""What the processes with a linear beta share: its options, its value and its clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torchdiff.errors import OptionError
from torchdiff.sde.base import ScalarSDE


@dataclass(frozen=True)
class LinearBeta(ScalarSDE):
    """beta(t) = beta_0 + t (beta_1 - beta_0), alpha(t) = exp(-B/2), B(t) = integral of beta over [0, t]."""

    beta_0: float = 0.1
    beta_1: float = 20.0
    t_min: float = 1e-3
    t_max: float = 1.0
    name: ClassVar[str]

    def __post_init__(self) -> None:
        self.check_range()
        if not 0.0 < self.beta_0 <= self.beta_1 < math.inf:
            raise OptionError(
                f"{self.name} needs 0 < beta_0 <= beta_1, got beta_0 = {self.beta_0!r}, beta_1 = {self.beta_1!r}"
            )

    def beta(self, t: float) -> float:
        return self.beta_0 + t * (self.beta_1 - self.beta_0)

    def clock(self, start: float, end: float) -> float:
        """The integral of beta over [start, end], by factors: no digits are lost where the span is short."""
        return (end - start) * (self.beta_0 + 0.5 * (self.beta_1 - self.beta_0) * (start + end))

    def time_at(self, clock: float) -> float:
        """The inverse of clock(0, t)."""
        root = math.sqrt(self.beta_0**2 + 2.0 * (self.beta_1 - self.beta_0) * clock)
        return 2.0 * clock / (self.beta_0 + root)

    def alpha(self, t: float) -> float:
        return math.exp(-0.5 * self.clock(0.0, t))
