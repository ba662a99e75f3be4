"""The variance-preserving (Ornstein-Uhlenbeck) process."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torchdiff.blocks import Mat
from torchdiff.registry import SDES
from torchdiff.sde.base import Level, unit_level
from torchdiff.sde.linear_beta import LinearBeta


@SDES.register("vp")
@dataclass(frozen=True)
class VP(LinearBeta):
    """Variance-preserving process: Ornstein-Uhlenbeck with linear beta.

        dx = -beta(t)/2 x dt + sqrt(beta(t)) dw,   beta(t) = beta_0 + t (beta_1 - beta_0)
        alpha(t) = exp(-B/2),   sigma(t) = sqrt(1 - exp(-B)),   B(t) = integral of beta over [0, t]

    t is dimensionless, in [0, t_max], data at t = 0; alpha and sigma scale data of unit variance.
    Raises OptionError for a beta that is not positive, beta_1 < beta_0 and for t outside [0, t_max].
    Source: Song et al. 2021, arXiv:2011.13456, eqs. 11, 29 and 33.
    """

    name: ClassVar[str] = "vp"

    def sigma(self, t: float) -> float:
        return math.sqrt(-math.expm1(-self.clock(0.0, t)))

    def rates(self, t: float) -> tuple[float, float]:
        alpha, sigma, half = self.alpha(t), self.sigma(t), 0.5 * self.beta(t)
        return -half * alpha, half * alpha * alpha / sigma if sigma > 0.0 else math.inf

    def at(self, half_log_snr: float) -> Level:
        alpha, sigma, clock = unit_level(half_log_snr)  # e^B = 1 / alpha^2
        return Level(self.settle(self.time_at(clock), half_log_snr), alpha, sigma)

    def drift(self, t: float) -> Mat:
        return Mat([[-0.5 * self.beta(self.check_time(t))]])

    def noise(self, t: float) -> Mat:
        return Mat([[math.sqrt(self.beta(self.check_time(t)))]])

    def transition(self, start: float, end: float) -> tuple[Mat, Mat]:
        self.check_span(start, end)
        clock = self.clock(start, end)
        return Mat([[math.exp(-0.5 * clock)]]), Mat([[math.sqrt(-math.expm1(-clock))]])

    def prior(self, t: float) -> Mat:
        self.check_time(t)
        return Mat([[1.0]])  # the stationary law, whatever the time at which sampling starts
