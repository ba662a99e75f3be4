"""The types of a linear forward SDE: Level, LinearSDE (n blocks) and ScalarSDE (one block). Floats only."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from torchdiff.blocks import Mat
from torchdiff.errors import IncompatibleError, OptionError


class Level(NamedTuple):
    """The marginal x_t = alpha x0 + sigma eps at one time; floats, or n x n Mats for an n-block SDE."""

    t: float
    alpha: Any  # float, or Mat
    sigma: Any  # float, or Mat (a Cholesky factor)

    @property
    def scalar(self) -> bool:
        return not isinstance(self.alpha, Mat)

    @property
    def half_log_snr(self) -> float:
        """log(alpha / sigma): -inf at alpha = 0, +inf at sigma = 0; the logarithm of zero is never taken."""
        if isinstance(self.alpha, Mat):
            raise IncompatibleError(f"the level at t = {self.t:g} has {len(self.alpha)} blocks and no one log-SNR")
        if self.alpha == 0.0:
            return -math.inf
        if self.sigma == 0.0:
            return math.inf
        return math.log(self.alpha / self.sigma)


class LinearSDE(ABC):
    """dx = F(t) x dt + G(t) dw in n x n blocks (n = 1; 2 for position and velocity), data at t = 0.

    Times are dimensionless and lie in [0, t_max]; [t_min, t_max] is the range that samplers use by default.
    Every method raises OptionError for a time outside [0, t_max].
    """

    blocks: int = 1
    t_min: float
    t_max: float

    @abstractmethod
    def level(self, t: float) -> Level:
        """The marginal of x_t given x_0 = (data, 0, ...)."""

    @abstractmethod
    def drift(self, t: float) -> Mat:
        """F(t)."""

    @abstractmethod
    def noise(self, t: float) -> Mat:
        """G(t)."""

    @abstractmethod
    def transition(self, start: float, end: float) -> tuple[Mat, Mat]:
        """Exact kernel of x_end given x_start, start <= end: the mean map and the Cholesky factor of the covariance."""

    @abstractmethod
    def prior(self, t: float) -> Mat:
        """Cholesky factor of the law from which sampling starts at time t (mean zero)."""

    def check_time(self, t: float) -> float:
        if not 0.0 <= t <= self.t_max:  # also refuses nan
            raise OptionError(f"time {t!r} is outside [0, {self.t_max:g}] of {self!r}")
        return float(t)

    def check_span(self, start: float, end: float) -> None:
        if self.check_time(start) > self.check_time(end):
            raise OptionError(f"a transition goes forward in time, got start = {start!r} after end = {end!r}")

    def check_range(self) -> None:
        if not 0.0 <= self.t_min < self.t_max < math.inf:
            raise OptionError(
                f"{type(self).__name__} needs 0 <= t_min < t_max, got t_min = {self.t_min!r}, t_max = {self.t_max!r}"
            )


class ScalarSDE(LinearSDE):
    """A one-block SDE given by alpha(t), sigma(t) and their derivatives; the rest follows.

    F = alpha' / alpha and G^2 = 2 sigma sigma' - 2 sigma^2 alpha' / alpha
    (Karras et al. 2022, arXiv:2206.00364, eqs. 23 to 28 with s = alpha and s sigma = sigma).
    """

    blocks = 1

    @abstractmethod
    def alpha(self, t: float) -> float: ...

    @abstractmethod
    def sigma(self, t: float) -> float: ...

    @abstractmethod
    def rates(self, t: float) -> tuple[float, float]:
        """alpha'(t), sigma'(t): the probability-flow velocity alpha' x0 + sigma' eps stays finite where F does not."""

    def level(self, t: float) -> Level:
        t = self.check_time(t)
        return Level(t, self.alpha(t), self.sigma(t))

    def at(self, half_log_snr: float) -> Level:
        """The level of a given log(alpha / sigma): bisection to the last bit; closed forms override it.

        Raises OptionError for a value that no time in [0, t_max] has.
        """
        low, high = 0.0, self.t_max
        if not self.level(high).half_log_snr <= half_log_snr <= self.level(low).half_log_snr:
            raise OptionError(f"{self!r} has no time in [0, {self.t_max:g}] with half_log_snr = {half_log_snr!r}")
        while True:
            middle = 0.5 * (low + high)
            if middle in (low, high):
                return self.level(high)
            if self.level(middle).half_log_snr > half_log_snr:
                low = middle
            else:
                high = middle

    def settle(self, t: float, half_log_snr: float) -> float:
        """The time that `at` found, moved back inside [0, t_max] where only rounding put it outside."""
        if not t <= self.t_max * (1.0 + 1e-12):  # 1e-12: far above rounding, far below any step of a grid
            raise OptionError(f"{self!r} has no time in [0, {self.t_max:g}] with half_log_snr = {half_log_snr!r}")
        return min(max(t, 0.0), self.t_max)

    def drift(self, t: float) -> Mat:
        alpha = self.alpha(self.check_time(t))
        if alpha == 0.0:
            raise IncompatibleError(
                f"drift and diffusion of {self!r} are infinite at t = {t:g}, where alpha = 0; start below it "
                f"(t_max = {0.999 * self.t_max:g}, say) or use a solver that needs neither: ddim, ddpm, ode"
            )
        return Mat([[self.rates(t)[0] / alpha]])

    def noise(self, t: float) -> Mat:
        rate = self.drift(t)[0][0]
        sigma = self.sigma(t)
        return Mat([[math.sqrt(2.0 * sigma * (self.rates(t)[1] - sigma * rate))]])

    def transition(self, start: float, end: float) -> tuple[Mat, Mat]:
        self.check_span(start, end)
        cur, nxt = self.level(start), self.level(end)
        if cur.alpha == 0.0:
            raise IncompatibleError(f"no transition of {self!r} starts at t = {start:g}, where alpha = 0")
        if start == end:
            return Mat([[1.0]]), Mat([[0.0]])
        rise = 2.0 * (nxt.half_log_snr - cur.half_log_snr)  # <= 0; expm1 keeps the digits of short spans
        return Mat([[nxt.alpha / cur.alpha]]), Mat([[nxt.sigma * math.sqrt(-math.expm1(rise))]])

    def prior(self, t: float) -> Mat:
        return Mat([[self.sigma(self.check_time(t))]])


def stays(sde: LinearSDE, law: Mat, t: float) -> bool:
    """Whether F and G at t leave the covariance `law` as it is, to 1e-9 of what each of them does to it."""
    drift, noise = sde.drift(t), sde.noise(t)
    along, fresh = drift @ law, noise @ noise.T
    change = along + along.T + fresh
    scale = max(abs(v) for part in (along, fresh) for row in part for v in row)
    return max(abs(v) for row in change for v in row) <= 1e-9 * scale


def unit_level(half_log_snr: float) -> tuple[float, float, float]:
    """alpha, sigma and -2 log alpha of the level with alpha^2 + sigma^2 = 1 and this log(alpha / sigma)."""
    # exponentials of negative numbers only, so that neither end overflows
    odds = math.exp(-2.0 * abs(half_log_snr))  # the lesser of alpha^2 and sigma^2, over the greater
    more = 1.0 / math.sqrt(1.0 + odds)
    less = math.exp(-abs(half_log_snr)) * more
    alpha, sigma = (more, less) if half_log_snr > 0.0 else (less, more)
    return alpha, sigma, math.log1p(odds) + max(0.0, -2.0 * half_log_snr)
