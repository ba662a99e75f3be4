"""The variance-exploding process."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torchdiff.blocks import Mat
from torchdiff.errors import OptionError
from torchdiff.registry import SDES
from torchdiff.sde.base import Level, ScalarSDE


@SDES.register("ve")
@dataclass(frozen=True)
class VE(ScalarSDE):
    """Variance-exploding process: Brownian motion on a geometric clock.

        dx = sigma(t) sqrt(2 log(sigma_max / sigma_min)) dw
        alpha(t) = 1,   sigma(t) = sigma_min (sigma_max / sigma_min)^t

    t is dimensionless, in [0, t_max], data at t = 0; sigma is in units of the data.
    The level at t = 0 keeps the floor sigma_min; a transition has variance sigma(end)^2 - sigma(start)^2 without it.
    Raises OptionError unless 0 < sigma_min < sigma_max, and for t outside [0, t_max].
    Source: Song et al. 2021, arXiv:2011.13456, eqs. 30 and 31.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    t_min: float = 1e-5
    t_max: float = 1.0

    def __post_init__(self) -> None:
        self.check_range()
        if not 0.0 < self.sigma_min < self.sigma_max < math.inf:
            raise OptionError(f"ve needs 0 < sigma_min < sigma_max, got {self.sigma_min!r} and {self.sigma_max!r}")

    @property
    def growth(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def alpha(self, t: float) -> float:
        return 1.0

    def sigma(self, t: float) -> float:
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** t

    def rates(self, t: float) -> tuple[float, float]:
        return 0.0, self.sigma(t) * self.growth

    def at(self, half_log_snr: float) -> Level:
        rise = -half_log_snr - math.log(self.sigma_min)
        if rise < -1e-12 * self.growth:
            raise OptionError(f"{self!r} has sigma >= {self.sigma_min:g}: no time has half_log_snr = {half_log_snr!r}")
        return Level(self.settle(rise / self.growth, half_log_snr), 1.0, math.exp(-half_log_snr))

    def noise(self, t: float) -> Mat:
        return Mat([[self.sigma(self.check_time(t)) * math.sqrt(2.0 * self.growth)]])

    def transition(self, start: float, end: float) -> tuple[Mat, Mat]:
        self.check_span(start, end)
        spread = self.sigma(start) * math.sqrt(math.expm1(2.0 * self.growth * (end - start)))
        return Mat([[1.0]]), Mat([[spread]])
