"""Processes with one fault each, beside the right one that they derive from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torchdiff import CLD, Level, ScalarSDE
from torchdiff.blocks import Mat


@dataclass(frozen=True)
class Right(ScalarSDE):
    """alpha = e^-t, sigma^2 = 1 - e^-2t: the Ornstein-Uhlenbeck process dx = -x dt + sqrt(2) dw."""

    t_min: float = 1e-3
    t_max: float = 5.0

    def alpha(self, t):
        return math.exp(-t)

    def sigma(self, t):
        return math.sqrt(-math.expm1(-2.0 * t))

    def rates(self, t):
        return -math.exp(-t), math.exp(-2.0 * t) / self.sigma(t)

    def drift(self, t):
        return Mat([[-1.0 + 0.0 * self.check_time(t)]])

    def noise(self, t):
        return Mat([[math.sqrt(2.0) + 0.0 * self.check_time(t)]])


class WrongDrift(Right):
    def drift(self, t):
        return super().drift(t) * 1.01


class WrongNoise(Right):
    def noise(self, t):
        return super().noise(t) * 1.01


class WrongCovariance(Right):
    def transition(self, start, end):
        mean, factor = super().transition(start, end)
        return mean, factor * 1.01


class DoesNotCompose(Right):
    """Euler's step in the place of the exact kernel."""

    def transition(self, start, end):
        self.check_span(start, end)
        return Mat([[1.0 - (end - start)]]), Mat([[math.sqrt(2.0 * (end - start))]])


class WrongInverse(Right):
    def at(self, half_log_snr):
        return super().at(half_log_snr + 0.01)


class WrongRates(Right):
    def rates(self, t):
        alpha, sigma = super().rates(t)
        return alpha, 1.01 * sigma


class InfiniteAtTheData(Right):
    def sigma(self, t):
        return super().sigma(t) if t > 0.0 else math.nan


class NoiseAtTheData(Right):
    """Its level at t = 0 has shrunk the data already."""

    def alpha(self, t):
        return 0.99 * super().alpha(t)

    def rates(self, t):
        alpha, sigma = super().rates(t)
        return 0.99 * alpha, sigma

    def transition(self, start, end):
        span = super().check_span(start, end) or end - start
        return Mat([[math.exp(-span)]]), Mat([[math.sqrt(-math.expm1(-2.0 * span))]])


class TakesAnyTime(Right):
    def level(self, t):
        return Level(t, self.alpha(t), self.sigma(abs(t)))


class WrongPrior(Right):
    def prior(self, t):
        return Mat([[3.0 * self.sigma(self.check_time(t))]])


class NoValue(Right):
    __hash__ = None  # as a dataclass that is not frozen has


@dataclass(frozen=True)
class WrongSpec(Right):
    """Its option is not what it was built with."""

    rate: float = 1.0

    def __post_init__(self):
        object.__setattr__(self, "rate", 2.0 * self.rate)


class LosesDigits(CLD):
    """The covariance of a step by differences of nearly equal numbers."""

    def covariance(self, clock):
        y, gamma = 4.0 * clock / self.friction, self.friction
        decay = math.exp(-y)
        third = 1.0 / decay - 1.0 - y - 0.5 * y * y
        return decay * max(third, 0.0), decay * gamma * y * y / 4.0, decay * 0.25 * gamma * gamma * (third + 2.0 * y)
