"""Processes of one block given by a user's functions: what is missing is found numerically, once.

Integrals and differential equations are SciPy's (DOP853, relative tolerance 1e-13, dense output), loaded when a process
is first asked for anything. Functions of t are called with floats in [0, t_max] and must be smooth there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torchdiff.blocks import Mat
from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.sde.base import Level, ScalarSDE

RTOL = 1e-13  # of the integrals; SciPy takes nothing below 2.3e-14
TINY = 1e-30  # absolute tolerance: parts that start at 0 keep their relative accuracy

Function = Callable[[float], float]


def solve(
    rule: Callable[[float, Any], Any],
    start: float,
    end: float,
    first: Any,
    what: str,
    dense: bool = False,
    floor: Any = TINY,
    longest: float | None = None,
) -> Any:
    """SciPy's solution of y' = rule(t, y) from y(start) = first, by steps of `longest` at most.

    floor: absolute tolerance, one or one for each entry. OptionError, naming `what`, where there is no solution.
    """
    import numpy as np
    from scipy.integrate import solve_ivp

    with np.errstate(all="ignore"):
        if longest is None:
            longest = (end - start) / 128 if dense else np.inf  # the dense output is of order 7, the steps of order 8
        found = solve_ivp(
            rule, (start, end), first, method="DOP853", rtol=RTOL, atol=floor, dense_output=dense, max_step=longest
        )
    if not found.success or not np.all(np.isfinite(found.y)):
        raise OptionError(f"{what} cannot be integrated over [{start:g}, {end:g}]: {found.message}")
    return found


def number(value: Any, what: str, t: float) -> float:
    """What a user's function returned, as a finite float. Raises OptionError naming the function and t."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        result = math.nan
    if not math.isfinite(result):
        raise OptionError(f"{what} must be a finite number on the whole range, at t = {t:g} it is {value!r}")
    return result


class Numeric(ScalarSDE):
    """What the processes here share: the inverse by SciPy's root finder, and stationary noise where there is none."""

    def at(self, half_log_snr: float) -> Level:
        import numpy as np
        from scipy.optimize import brentq

        low, high = self.level(self.t_max).half_log_snr, self.level(0.0).half_log_snr
        if not low <= half_log_snr <= high:
            raise OptionError(f"{self!r} has no time in [0, {self.t_max:g}] with half_log_snr = {half_log_snr!r}")

        def miss(t: float) -> float:
            return min(max(self.level(t).half_log_snr, -1e3), 1e3) - half_log_snr  # the infinite ends are finite here

        if miss(0.0) <= 0.0 or miss(self.t_max) >= 0.0:
            return self.level(0.0 if miss(0.0) <= 0.0 else self.t_max)
        found: Any = brentq(miss, 0.0, self.t_max, xtol=1e-300, rtol=np.float64(1e-15), maxiter=1000)
        return self.level(found)


@dataclass(frozen=True)
class BetaSDE(Numeric):
    """The variance-preserving process of any beta(t).

        dx = -beta(t)/2 x dt + sqrt(beta(t)) dw
        alpha = exp(-B/2),   sigma = sqrt(1 - exp(-B)),   B(t) = integral of beta over [0, t]

    beta: a positive, smooth function of a float in [0, t_max].
    Raises OptionError for a beta that is negative, not finite or no number, when it is first integrated.
    Source: Song et al. 2021, arXiv:2011.13456, eqs. 11 and 33.
    """

    beta: Function
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        self.check_range()

    def rate(self, t: float) -> float:
        """beta(t), checked."""
        beta = number(self.beta(float(t)), "beta(t)", t)
        if beta < 0.0:
            raise OptionError(f"beta(t) must not be negative, at t = {t:g} it is {beta!r}")
        return beta

    @functools.cached_property
    def _clock(self) -> Callable[[float], float]:
        solution = solve(lambda t, y: [self.rate(t)], 0.0, self.t_max, [0.0], "beta(t)", dense=True).sol
        return lambda t: float(solution(t)[0]) if t > 0.0 else 0.0

    def alpha(self, t: float) -> float:
        return math.exp(-0.5 * self._clock(t))

    def sigma(self, t: float) -> float:
        return math.sqrt(-math.expm1(-self._clock(t)))

    def rates(self, t: float) -> tuple[float, float]:
        alpha, sigma, half = self.alpha(t), self.sigma(t), 0.5 * self.rate(t)
        return -half * alpha, half * alpha * alpha / sigma if sigma > 0.0 else math.inf

    def drift(self, t: float) -> Mat:
        return Mat([[-0.5 * self.rate(self.check_time(t))]])

    def noise(self, t: float) -> Mat:
        return Mat([[math.sqrt(self.rate(self.check_time(t)))]])

    def transition(self, start: float, end: float) -> tuple[Mat, Mat]:
        self.check_span(start, end)
        if start == end:
            return Mat([[1.0]]), Mat([[0.0]])
        # its own integral: the difference of two clocks would have no digits over a short span
        clock = float(solve(lambda t, y: [self.rate(t)], start, end, [0.0], "beta(t)").y[0, -1])
        return Mat([[math.exp(-0.5 * clock)]]), Mat([[math.sqrt(-math.expm1(-clock))]])

    def prior(self, t: float) -> Mat:
        self.check_time(t)
        return Mat([[1.0]])  # the stationary law, whatever the time at which sampling starts


@dataclass(frozen=True)
class DriftSDE(Numeric):
    """dx = f(t) x dt + g(t) dw for any f and g.

        alpha = exp(integral of f),   sigma^2 the solution of (sigma^2)' = 2 f sigma^2 + g^2 from 0

    f, g: smooth functions of a float in [0, t_max].
    Raises OptionError for a value that is not finite or no number, when it is first integrated.
    Source: Song et al. 2021, arXiv:2011.13456, appendix D.1; Saerkkae & Solin 2019, Applied SDEs, eqs. 6.2 and 6.20.
    """

    f: Function
    g: Function
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        self.check_range()

    def _rule(self, t: float, y: Any) -> list[float]:
        f, g = number(self.f(float(t)), "f(t)", t), number(self.g(float(t)), "g(t)", t)
        return [f, 2.0 * f * float(y[1]) + g * g]

    @functools.cached_property
    def _marginal(self) -> Callable[[float], tuple[float, float]]:
        solution = solve(self._rule, 0.0, self.t_max, [0.0, 0.0], "f(t), g(t)", dense=True).sol
        return lambda t: (float(solution(t)[0]), max(float(solution(t)[1]), 0.0)) if t > 0.0 else (0.0, 0.0)

    def alpha(self, t: float) -> float:
        return math.exp(self._marginal(t)[0])

    def sigma(self, t: float) -> float:
        return math.sqrt(self._marginal(t)[1])

    def rates(self, t: float) -> tuple[float, float]:
        f, g, sigma = self.drift(t)[0][0], self.noise(t)[0][0], self.sigma(t)
        return f * self.alpha(t), f * sigma + 0.5 * g * g / sigma if sigma > 0.0 else math.inf

    def drift(self, t: float) -> Mat:
        return Mat([[number(self.f(self.check_time(t)), "f(t)", t)]])

    def noise(self, t: float) -> Mat:
        return Mat([[abs(number(self.g(self.check_time(t)), "g(t)", t))]])

    def transition(self, start: float, end: float) -> tuple[Mat, Mat]:
        self.check_span(start, end)
        if start == end:
            return Mat([[1.0]]), Mat([[0.0]])
        log_mean, variance = solve(self._rule, start, end, [0.0, 0.0], "f(t), g(t)").y[:, -1].tolist()
        return Mat([[math.exp(log_mean)]]), Mat([[math.sqrt(variance)]])


# central differences of order 8, and one-sided ones of order 8 for the ends (Fornberg 1988, table 1 and 3)
_CENTRAL = ((1, 4 / 5), (2, -1 / 5), (3, 4 / 105), (4, -1 / 280))
_SIDED = (-761 / 280, 8.0, -14.0, 56 / 3, -35 / 2, 56 / 5, -14 / 3, 8 / 7, -1 / 8)


@dataclass(frozen=True)
class MarginalSDE(Numeric):
    """The process whose marginals are x_t = alpha(t) x0 + sigma(t) eps.

    alpha_of, sigma_of: smooth functions of a float in [0, t_max]; alpha_of(0) = 1 and alpha / sigma falls. Their
    derivatives are differences of order 8, for f = alpha' / alpha and g^2 = 2 sigma sigma' - 2 sigma^2 alpha' / alpha.
    Raises OptionError for a value that is negative, not finite or no number, for alpha_of(0) != 1, and where alpha /
    sigma rises.
    Source: Karras et al. 2022, arXiv:2206.00364, eqs. 23 to 28.
    """

    alpha_of: Function
    sigma_of: Function
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        self.check_range()

    @functools.cached_property
    def _checked(self) -> bool:
        """Looks at alpha / sigma at 65 times, once."""
        times = [self.t_max * i / 64 for i in range(65)]
        levels = [(t, self._value("alpha", t), self._value("sigma", t)) for t in times]
        if abs(levels[0][1] - 1.0) > 1e-12:
            raise OptionError(
                f"alpha(0) must be 1: x_0 is the data; got {levels[0][1]!r}. Divide alpha and sigma by it"
            )
        for (_, a, s), (t, b, r) in pairwise(levels):
            if not a * r > b * s:
                raise OptionError(
                    f"alpha / sigma must fall with t, but it rises before t = {t:g}: no SDE has these marginals"
                )
        return True

    def _value(self, name: str, t: float) -> float:
        value = number((self.alpha_of if name == "alpha" else self.sigma_of)(float(t)), f"{name}(t)", t)
        if value < 0.0:
            raise OptionError(f"{name}(t) must not be negative, at t = {t:g} it is {value!r}")
        return value

    def alpha(self, t: float) -> float:
        return self._value("alpha", t) if self._checked else math.nan

    def sigma(self, t: float) -> float:
        return self._value("sigma", t) if self._checked else math.nan

    def rates(self, t: float) -> tuple[float, float]:
        falling = self._difference(lambda t: self._value("alpha", t), t, 2e-3 * self.t_max)
        return falling, self._sigma_rate(t)

    def _sigma_rate(self, t: float) -> float:
        """sigma', by differences of sigma over t / 100, or of sigma^2 over a wide step: what loses fewer digits.

        sigma may be like a root of t near 0, where only its square is smooth; or like t, whose square is small there.
        """
        wide, sigma = 2e-3 * self.t_max, self._value("sigma", t)
        square = self._difference(lambda t: self._value("sigma", t) ** 2, t, wide)
        if sigma == 0.0:
            return (
                math.inf if square > 1e-9 / self.t_max else self._difference(lambda t: self._value("sigma", t), t, wide)
            )
        rate = square / (2.0 * sigma)
        if t == 0.0 or t / 100.0 >= wide:
            return rate
        near = self._difference(lambda t: self._value("sigma", t), t, t / 100.0)
        loss = self._value("sigma", min(8.0 * wide, self.t_max)) ** 2 / (wide * abs(square))
        return rate if loss < sigma / (0.01 * t * abs(near)) else near

    def _difference(self, function: Function, t: float, h: float) -> float:
        """f'(t) by nine values at steps of h, on one side where the range ends."""
        h = min(h, self.t_max / 16.0)
        if 4.0 * h <= t <= self.t_max - 4.0 * h:
            return math.fsum(w * (function(t + k * h) - function(t - k * h)) for k, w in _CENTRAL) / h
        h = h if t < 4.0 * h else -h
        return math.fsum(w * function(t + k * h) for k, w in enumerate(_SIDED)) / h

    def transition(self, start: float, end: float) -> tuple[Mat, Mat]:
        self.check_span(start, end)
        cur, nxt = self.level(start), self.level(end)
        if cur.alpha == 0.0 or start == end or not start > 0.0:
            return super().transition(start, end)
        rise = 2.0 * (nxt.half_log_snr - cur.half_log_snr)
        if -rise < 1e-3 * (1.0 + abs(cur.half_log_snr)):
            # 1e-3: below it the difference has lost three digits, and three points of Gauss have an error of 1e-18
            middle, half = 0.5 * (start + end), 0.5 * (end - start)
            nodes = ((-math.sqrt(0.6), 5 / 9), (0.0, 8 / 9), (math.sqrt(0.6), 5 / 9))
            rise = 2.0 * half * math.fsum(w * self._fall(middle + half * p) for p, w in nodes)
        return Mat([[nxt.alpha / cur.alpha]]), Mat([[nxt.sigma * math.sqrt(-math.expm1(rise))]])

    def _fall(self, t: float) -> float:
        """d half_log_snr / dt."""
        (falling, rising), level = self.rates(t), self.level(t)
        return falling / level.alpha - rising / level.sigma

    def noise(self, t: float) -> Mat:
        rate, sigma = self.drift(t)[0][0], self.sigma(t)
        squared = 2.0 * sigma * (self._sigma_rate(t) - sigma * rate)
        if not squared >= 0.0:
            raise IncompatibleError(
                f"alpha / sigma rises at t = {t:g}: no SDE has these marginals (g^2 = {squared:.3g})"
            )
        return Mat([[math.sqrt(squared)]])
