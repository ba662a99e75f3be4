"""Variance-preserving processes given by a table of betas, continuous in between."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torchdiff.blocks import Mat
from torchdiff.errors import IncompatibleError, OptionError, shown
from torchdiff.registry import SDES
from torchdiff.sde.base import Level, ScalarSDE, unit_level
from torchdiff.sde.spline import Spline

# schedule -> the first and the last beta, by default
SCHEDULES = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012), "cosine": (0.0, 0.999)}


class Table(NamedTuple):
    """alpha = 1 + (1 + offset) (e^u - 1), u the spline through the own times; offset is 0 but for zero terminal SNR."""

    alphas: tuple[float, ...]  # at t = 0, 1/N, ..., 1
    offset: float
    spline: Spline


@SDES.register("ddpm")
@dataclass(frozen=True)
class DiscreteVP(ScalarSDE):
    """The variance-preserving process of a table of N betas: exact at its own times t = (i + 1) / N, i = 0 ... N - 1.

        alpha(t_i)^2 = product of (1 - beta_j) over j <= i,   alpha(0) = 1,   sigma^2 = 1 - alpha^2

    Between them log alpha is a C2 cubic spline, so that methods of any order keep theirs. t is dimensionless.
    schedule: "linear" from beta_start to beta_end (1e-4, 0.02), "scaled_linear", squares of an even grid of roots
              (0.00085, 0.012), or "cosine", alpha-bar = cos^2((t + 0.008) / 1.008 pi / 2), no beta above 0.999.
    count:    N; t_min is 1 / N by default, the first own time.
    betas:    a table of one's own, as numbers or as text with blanks between; it takes the place of the rest.
    zero_snr: alpha is shifted and scaled so that it is 0 at t = 1 and alpha(t_0) stays; drift, diffusion and "eps"
              networks are infinite there.
    `index(level)` is N t - 1, what networks trained on the table take for time; `time(index)` is its inverse.
    Raises OptionError for betas outside (0, 1), fewer than 4 of them, and a table so uneven that log alpha rises in
    between.
    Source: Ho et al. 2020, arXiv:2006.11239, section 4; Rombach et al. 2022 (scaled_linear); Nichol & Dhariwal 2021,
    arXiv:2102.09672, eq. 17; Lin et al. 2023, arXiv:2305.08891, algorithm 1.
    """

    schedule: str = "linear"
    beta_start: float | None = None
    beta_end: float | None = None
    count: int = 1000
    zero_snr: bool = False
    betas: str | Sequence[float] | None = None
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        if self.betas is not None:
            numbers = _numbers(self.betas)  # kept as text: hashable, and as the process is written
            object.__setattr__(self, "betas", " ".join(map(repr, numbers)))
            object.__setattr__(self, "count", len(numbers))
        elif self.schedule not in SCHEDULES:
            raise OptionError(f"ddpm: schedule is one of {', '.join(SCHEDULES)}, got {self.schedule!r}")
        if not isinstance(self.count, int) or self.count < 4:
            raise OptionError(f"ddpm needs 4 betas at least, got count = {self.count!r}")
        if self.t_min == DiscreteVP.t_min and self.count != 1000:
            object.__setattr__(self, "t_min", 1.0 / self.count)
        self.check_range()
        if self.t_max > 1.0:
            raise OptionError(f"ddpm runs from t = 0 to 1, got t_max = {self.t_max!r}")
        _ = self.table  # refuses betas without meaning now, not when they are used

    @property
    def table(self) -> Table:
        return _table(self.schedule, self.beta_start, self.beta_end, self.count, self.zero_snr, self.betas)

    def index(self, level: Level) -> float:
        """The index of a level in the table: N t - 1."""
        return self.count * level.t - 1.0

    def time(self, index: float) -> float:
        """The time of an index: (index + 1) / N."""
        return (index + 1.0) / self.count

    def alpha(self, t: float) -> float:
        alphas, offset, spline = self.table
        knot = spline.knot(t)
        if knot is not None:
            return alphas[knot]
        value = spline.value(t)
        if offset == 0.0:
            return math.exp(value)
        # one number from above and from below: near alpha = 0 at t = 1 its digits are those of what is left
        near = value > 0.5 * spline.values[-1]
        return 1.0 + (1.0 + offset) * math.expm1(value) if near else offset * math.expm1(-spline.change(t, 1.0))

    def sigma(self, t: float) -> float:
        _, offset, spline = self.table
        gone = -(1.0 + offset) * math.expm1(spline.value(t))  # 1 - alpha
        return math.sqrt(gone * (2.0 - gone)) if self.alpha(t) > 0.0 else 1.0

    def rates(self, t: float) -> tuple[float, float]:
        _, offset, spline = self.table
        falling = (1.0 + offset) * math.exp(spline.value(t)) * spline.slope(t)
        sigma = self.sigma(t)
        return falling, -self.alpha(t) * falling / sigma if sigma > 0.0 else math.inf

    def at(self, half_log_snr: float) -> Level:
        alpha, sigma, clock = unit_level(half_log_snr)
        _, offset, spline = self.table
        if offset == 0.0:
            value = -0.5 * clock  # log alpha
        elif alpha > 0.5:
            value = math.log1p(-sigma * sigma / ((1.0 + alpha) * (1.0 + offset)))
        else:
            value = spline.values[-1] + math.log1p(alpha / offset)
        t = 2.0 if not value >= spline.values[-1] - 1e-12 else spline.time(max(value, spline.values[-1]))
        return Level(self.settle(t, half_log_snr), alpha, sigma)

    def noise(self, t: float) -> Mat:
        return Mat([[math.sqrt(-2.0 * self.drift(t)[0][0])]])  # alpha^2 + sigma^2 = 1: G^2 = -2 F

    def transition(self, start: float, end: float) -> tuple[Mat, Mat]:
        self.check_span(start, end)
        alpha = self.alpha(start)
        if alpha == 0.0:
            raise IncompatibleError(f"no transition of {self!r} starts at t = {start:g}, where alpha = 0")
        _, offset, spline = self.table
        lost = -math.expm1(spline.change(start, end))
        lost *= (1.0 + offset) * math.exp(spline.value(start)) / alpha if offset != 0.0 else 1.0  # 1 - mean
        if self.alpha(end) == 0.0:
            lost = 1.0
        return Mat([[1.0 - lost]]), Mat([[math.sqrt(lost * (2.0 - lost))]])

    def prior(self, t: float) -> Mat:
        self.check_time(t)
        return Mat([[1.0]])  # the stationary law, whatever the time at which sampling starts


def _numbers(betas: str | Sequence[float]) -> tuple[float, ...]:
    try:
        return tuple(float(beta) for beta in (betas.split() if isinstance(betas, str) else betas))
    except (TypeError, ValueError):
        raise OptionError(f"ddpm: betas are numbers, or text like '0.1 0.2 0.3', got {shown(betas)}") from None


def _schedule(schedule: str, first: float | None, last: float | None, count: int) -> list[float]:
    start, end = SCHEDULES[schedule]
    start, end = start if first is None else first, end if last is None else last
    if schedule == "cosine":

        def bar(t: float) -> float:
            return math.cos((t + 0.008) / 1.008 * 0.5 * math.pi) ** 2

        return [min(1.0 - bar((i + 1) / count) / bar(i / count), end) for i in range(count)]
    power = 0.5 if schedule == "scaled_linear" else 1.0
    if not (0.0 < start < 1.0 and 0.0 < end < 1.0):
        raise OptionError(f"ddpm needs betas between 0 and 1, got beta_start = {start!r}, beta_end = {end!r}")
    start, end = start**power, end**power
    return [(start + (end - start) * i / (count - 1)) ** (1.0 / power) for i in range(count)]


@functools.lru_cache(maxsize=32)  # building one takes milliseconds, and equal processes share it
def _table(
    schedule: str, first: float | None, last: float | None, count: int, zero_snr: bool, betas: str | None
) -> Table:
    numbers = _schedule(schedule, first, last, count) if betas is None else list(_numbers(betas))
    for i, beta in enumerate(numbers):
        if not 0.0 < beta < 1.0:
            raise OptionError(f"ddpm needs betas between 0 and 1, beta {i} is {beta!r}")
    logs, total = [0.0], 0.0
    for beta in numbers:
        total += 0.5 * math.log1p(-beta)
        logs.append(total)
    offset = 0.0
    if zero_snr:
        # Lin et al.: alpha' = (alpha - alpha_T) k, k = alpha_0 / (alpha_0 - alpha_T), so alpha' + k alpha_T = k alpha,
        # whose logarithm is smooth down to alpha' = 0. At t = 0 alpha' is 1, and 1 + k alpha_T stands where k would.
        scale = math.exp(logs[1]) / (math.exp(logs[1]) - math.exp(logs[-1]))
        offset = scale * math.exp(logs[-1])
        top = math.log1p(offset)
        logs = [0.0, *(log + math.log(scale) - top for log in logs[1:])]
    spline = Spline(logs)
    if not spline.falls:
        # betas that grow several-fold at once make it start upwards: a slope of half the first rise holds it
        spline = Spline(logs, first=0.5)
    if not spline.falls:
        raise OptionError(
            f"ddpm: the betas change so much from one to the next that log alpha, a smooth curve through all of them, "
            f"rises in between; give a smoother table (the first is {numbers[0]:g}, the last {numbers[-1]:g})"
        )
    alphas = [1.0 + (1.0 + offset) * math.expm1(log) if offset else math.exp(log) for log in logs]
    if zero_snr:
        alphas[-1] = 0.0
    return Table(tuple(alphas), offset, spline)
