"""The sub-variance-preserving process."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torchdiff.blocks import Mat
from torchdiff.registry import SDES
from torchdiff.sde.base import Level
from torchdiff.sde.linear_beta import LinearBeta


@SDES.register("sub_vp")
@dataclass(frozen=True)
class SubVP(LinearBeta):
    """Sub-variance-preserving process: the drift of vp with less noise.

        dx = -beta(t)/2 x dt + sqrt(beta(t) (1 - exp(-2 B(t)))) dw,   beta(t) = beta_0 + t (beta_1 - beta_0)
        alpha(t) = exp(-B/2),   sigma(t) = 1 - exp(-B) (not its root),   B(t) = integral of beta over [0, t]

    t is dimensionless, in [0, t_max], data at t = 0; alpha and sigma scale data of unit variance.
    Raises OptionError for a beta that is not positive, beta_1 < beta_0 and for t outside [0, t_max].
    Source: Song et al. 2021, arXiv:2011.13456, eq. 12 and appendix B.
    """

    name: ClassVar[str] = "sub_vp"

    def sigma(self, t: float) -> float:
        return -math.expm1(-self.clock(0.0, t))

    def rates(self, t: float) -> tuple[float, float]:
        alpha, beta = self.alpha(t), self.beta(t)
        return -0.5 * beta * alpha, beta * alpha * alpha

    def at(self, half_log_snr: float) -> Level:
        # alpha / sigma = alpha / (1 - alpha^2), solved for alpha by one exponential of a negative number
        small = math.exp(-abs(half_log_snr))
        if half_log_snr > 0.0:
            alpha = 2.0 / (small + math.sqrt(small * small + 4.0))
            sigma = alpha * small
            clock = -math.log1p(-sigma)
        else:
            sigma = 2.0 / (1.0 + math.sqrt(1.0 + 4.0 * small * small))
            alpha = sigma * small
            clock = -2.0 * (half_log_snr + math.log(sigma))
        return Level(self.settle(self.time_at(clock), half_log_snr), alpha, sigma)

    def drift(self, t: float) -> Mat:
        return Mat([[-0.5 * self.beta(self.check_time(t))]])

    def noise(self, t: float) -> Mat:
        return Mat([[math.sqrt(self.beta(self.check_time(t)) * -math.expm1(-2.0 * self.clock(0.0, t)))]])

    def transition(self, start: float, end: float) -> tuple[Mat, Mat]:
        self.check_span(start, end)
        half = 0.5 * self.clock(start, end)
        mean = math.exp(-half)
        # sigma_end^2 - mean^2 sigma_start^2 = (sigma_end - mean sigma_start) (sigma_end + mean sigma_start), and the
        # first factor is (1 - mean) (1 + mean e^{-B(start)})
        less = -math.expm1(-half) * (1.0 + math.exp(-half - self.clock(0.0, start)))
        return Mat([[mean]]), Mat([[math.sqrt(less * (self.sigma(end) + mean * self.sigma(start)))]])
