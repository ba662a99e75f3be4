"""Equal steps in a function of sigma / alpha, the noise of a rescaled x: what k-diffusion and EDM call sigma."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torchdiff.errors import OptionError
from torchdiff.grids.base import Spaced, check_positive, half_log_snrs
from torchdiff.registry import GRIDS
from torchdiff.sde.base import LinearSDE


@GRIDS.register("log_snr")
@dataclass(frozen=True)
class LogSNR(Spaced):
    """Equal steps in log(alpha / sigma).

    Raises IncompatibleError for block SDEs and where an end has alpha = 0 or sigma = 0.
    Source: Lu et al. 2022, arXiv:2206.00927, section 3.4.
    """

    def between(self, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
        sde, start, end = half_log_snrs("log_snr", sde, t_max, t_min)
        return lambda fraction: sde.at(start + (end - start) * fraction).t


@GRIDS.register("exponential")
@dataclass(frozen=True)
class Exponential(Spaced):
    """Equal steps in log(sigma / alpha): log_snr, as k-diffusion and diffusers call it.

    Raises IncompatibleError for block SDEs and where an end has alpha = 0 or sigma = 0.
    Source: k-diffusion, get_sigmas_exponential; diffusers, use_exponential_sigmas.
    """

    def between(self, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
        sde, start, end = half_log_snrs("exponential", sde, t_max, t_min)
        return lambda fraction: sde.at(start + (end - start) * fraction).t


@GRIDS.register("polyexponential")
@dataclass(frozen=True)
class Polyexponential(Spaced):
    """Equal steps in (log(sigma / alpha) - its last value)^(1 / rho); rho = 1 is exponential.

        log r(f) = log r_min + (1 - f)^rho (log r_max - log r_min),   r = sigma / alpha, f = 0 ... 1

    rho > 1 is denser at the data end.
    Raises OptionError for rho <= 0; IncompatibleError for block SDEs and where an end has alpha = 0 or sigma = 0.
    Source: k-diffusion, get_sigmas_polyexponential.
    """

    rho: float = 1.0

    def __post_init__(self) -> None:
        check_positive("polyexponential", rho=self.rho)

    def between(self, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
        sde, start, end = half_log_snrs("polyexponential", sde, t_max, t_min)
        return lambda fraction: sde.at(end + (start - end) * (1.0 - fraction) ** self.rho).t


@GRIDS.register("karras")
@dataclass(frozen=True)
class Karras(Spaced):
    """Equal steps in (sigma / alpha)^(1 / rho).

    Raises OptionError for rho <= 0; IncompatibleError for block SDEs and where an end has alpha = 0 or sigma = 0.
    Source: Karras et al. 2022, arXiv:2206.00364, eq. 5.
    """

    rho: float = 7.0

    def __post_init__(self) -> None:
        check_positive("karras", rho=self.rho)

    def between(self, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
        sde, start, end = half_log_snrs("karras", sde, t_max, t_min)
        try:
            high, low = math.exp(-start / self.rho), math.exp(-end / self.rho)
        except OverflowError:
            raise OptionError(
                f"karras: (sigma / alpha)^(1 / rho) overflows at rho = {self.rho!r}; 7 is usual"
            ) from None
        return lambda fraction: sde.at(-self.rho * math.log(high + (low - high) * fraction)).t
