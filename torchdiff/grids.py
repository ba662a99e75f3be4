"""Grids: the times of a run, from the noisy end to the clean one, both ends exactly as asked."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.registry import GRIDS
from torchdiff.sde.base import LinearSDE, ScalarSDE


class Grid(ABC):
    """Fractions of the way from t_max to t_min, in some coordinate."""

    def times(self, sde: LinearSDE, steps: int, t_max: float, t_min: float) -> tuple[float, ...]:
        """steps + 1 times from t_max down to t_min; the ends are the given floats bit for bit.

        Raises IncompatibleError where the coordinate is not finite at an end.
        """
        at = self.between(sde, t_max, t_min)
        return (t_max, *(at(i / steps) for i in range(1, steps)), t_min)

    @abstractmethod
    def between(self, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
        """fraction in (0, 1) -> t."""


@GRIDS.register("uniform")
@dataclass(frozen=True)
class Uniform(Grid):
    """Equal steps in t."""

    def between(self, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
        return lambda fraction: t_max + (t_min - t_max) * fraction


@GRIDS.register("quadratic")
@dataclass(frozen=True)
class Quadratic(Grid):
    """Equal steps in sqrt(t): dense at the data end (Song et al. 2021, arXiv:2010.02502, appendix D.2)."""

    def between(self, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
        high, low = math.sqrt(t_max), math.sqrt(t_min)
        return lambda fraction: (high + (low - high) * fraction) ** 2


@GRIDS.register("log_snr")
@dataclass(frozen=True)
class LogSNR(Grid):
    """Equal steps in log(alpha / sigma) (Lu et al. 2022, arXiv:2206.00927, section 3.4)."""

    def between(self, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
        sde, start, end = _half_log_snrs("log_snr", sde, t_max, t_min)
        return lambda fraction: sde.at(start + (end - start) * fraction).t


@GRIDS.register("karras")
@dataclass(frozen=True)
class Karras(Grid):
    """Equal steps in (sigma / alpha)^(1 / rho) (Karras et al. 2022, arXiv:2206.00364, eq. 5).

    Raises OptionError for rho <= 0.
    """

    rho: float = 7.0

    def __post_init__(self) -> None:
        if not 0.0 < self.rho < math.inf:
            raise OptionError(f"karras: rho must be positive, got {self.rho!r}")

    def between(self, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
        sde, start, end = _half_log_snrs("karras", sde, t_max, t_min)
        try:
            high, low = math.exp(-start / self.rho), math.exp(-end / self.rho)
        except OverflowError:
            raise OptionError(
                f"karras: (sigma / alpha)^(1 / rho) overflows at rho = {self.rho!r}; 7 is usual"
            ) from None
        return lambda fraction: sde.at(-self.rho * math.log(high + (low - high) * fraction)).t


def default_grid(sde: LinearSDE, t_max: float, t_min: float) -> Grid:
    """log_snr where log(alpha / sigma) is finite at both ends, uniform for block SDEs and where it is not."""
    if isinstance(sde, ScalarSDE) and all(math.isfinite(sde.level(t).half_log_snr) for t in (t_max, t_min)):
        return LogSNR()
    return Uniform()


def _half_log_snrs(name: str, sde: LinearSDE, t_max: float, t_min: float) -> tuple[ScalarSDE, float, float]:
    if not isinstance(sde, ScalarSDE):
        raise IncompatibleError(
            f"grid {name!r} needs a log-SNR, not {sde.blocks} blocks of {sde!r}; use uniform or quadratic"
        )
    start, end = sde.level(t_max).half_log_snr, sde.level(t_min).half_log_snr
    for t, value in ((t_max, start), (t_min, end)):
        if not math.isfinite(value):
            raise IncompatibleError(
                f"grid {name!r} needs a finite log-SNR at both ends, that of {sde!r} at t = {t:g} is {value}; "
                f"give t_max or t_min inside (t_max=0.999, t_min=0.001, say) or use grid 'uniform'"
            )
    return sde, start, end
