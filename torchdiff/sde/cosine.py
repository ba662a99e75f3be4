"""The cosine process."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torchdiff.blocks import Mat
from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.registry import SDES
from torchdiff.sde.base import Level, ScalarSDE, unit_level


@SDES.register("cosine")
@dataclass(frozen=True)
class Cosine(ScalarSDE):
    """Cosine variance-preserving process.

        alpha(t) = cos(a(t)) / cos(a(0)),   a(t) = (t + s) / (1 + s) pi / 2,   sigma(t) = sqrt(1 - alpha(t)^2)

    t is dimensionless, in [0, t_max], data at t = 0; alpha and sigma scale data of unit variance. At t = 1 alpha is 0,
    and drift and diffusion are infinite there; t_max = 0.9946 is where Lu et al. 2022 (arXiv:2206.00927) start.
    Raises OptionError for s < 0, t_max > 1 and t outside [0, t_max]; IncompatibleError for drift or diffusion at t = 1.
    Source: Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17 (alpha-bar is alpha^2), divided by its value at 0.
    """

    s: float = 0.008
    t_min: float = 1e-3
    t_max: float = 0.9946

    def __post_init__(self) -> None:
        self.check_range()
        if not 0.0 <= self.s < math.inf or self.t_max > 1.0:
            raise OptionError(f"cosine needs s >= 0 and t_max <= 1, got s = {self.s!r}, t_max = {self.t_max!r}")

    @property
    def pace(self) -> float:
        """da/dt."""
        return 0.5 * math.pi / (1.0 + self.s)

    @property
    def first(self) -> float:
        """a(0)."""
        return self.pace * self.s

    def left(self, t: float) -> float:
        """pi / 2 - a(t), exactly 0 at t = 1."""
        return self.pace * (1.0 - t)

    def alpha(self, t: float) -> float:
        return math.sin(self.left(t)) / math.cos(self.first) if t > 0.0 else 1.0

    def sigma(self, t: float) -> float:
        # cos^2 a(0) - cos^2 a(t) = sin(a(t) + a(0)) sin(a(t) - a(0)): no digits are lost near t = 0
        gone = self.pace * t
        return math.sqrt(math.sin(gone + 2.0 * self.first) * math.sin(gone)) / math.cos(self.first)

    def rates(self, t: float) -> tuple[float, float]:
        falling = -self.pace * math.sin(self.first + self.pace * t) / math.cos(self.first)
        sigma = self.sigma(t)
        # sigma' = -alpha alpha' / sigma; with s = 0 sigma is a sine and its slope at 0 the pace
        rising = -self.alpha(t) * falling / sigma if sigma > 0.0 else math.inf if self.s > 0.0 else self.pace
        return falling, rising

    def at(self, half_log_snr: float) -> Level:
        alpha, sigma, _ = unit_level(half_log_snr)
        cos0, sin0 = math.cos(self.first), math.sin(self.first)
        cos1, sin1 = alpha * cos0, math.hypot(sin0, sigma * cos0)
        # sin(a - a(0)) by (sin^2 a - sin^2 a(0)) / (sin a cos a(0) + cos a sin a(0)): relative accuracy near t = 0
        gone = math.atan2(sigma * sigma * cos0 * cos0 / (sin1 * cos0 + cos1 * sin0), cos1 * cos0 + sin1 * sin0)
        return Level(self.settle(gone / self.pace, half_log_snr), alpha, sigma)

    def drift(self, t: float) -> Mat:
        if self.check_time(t) == 1.0:
            return super().drift(t)  # names what is infinite there
        # tan a, by the angle that is small: each keeps its digits on its own half
        tangent = math.tan(self.first + self.pace * t) if t < 0.5 else 1.0 / math.tan(self.left(t))
        return Mat([[-self.pace * tangent]])

    def noise(self, t: float) -> Mat:
        return Mat([[math.sqrt(-2.0 * self.drift(t)[0][0])]])

    def transition(self, start: float, end: float) -> tuple[Mat, Mat]:
        self.check_span(start, end)
        if start == 1.0:
            raise IncompatibleError(f"no transition of {self!r} starts at t = 1, where alpha = 0")
        # 1 - mean^2 = (cos^2 a - cos^2 a') / cos^2 a, and cos^2 a - cos^2 a' = sin(a + a') sin(a' - a)
        # sin(a + a') by the angle that is small: near t = 1 it is pi - (a + a'), what is left of both
        before, after = self.left(start), self.left(end)
        both = 2.0 * self.first + self.pace * (start + end) if start + end < 1.0 else before + after
        lost = math.sin(both) * math.sin(self.pace * (end - start))
        return Mat([[math.sin(after) / math.sin(before)]]), Mat([[math.sqrt(lost) / math.sin(before)]])

    def prior(self, t: float) -> Mat:
        self.check_time(t)
        return Mat([[1.0]])  # the stationary law, whatever the time at which sampling starts
