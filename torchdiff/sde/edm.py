"""The process of EDM: the standard deviation of the noise is the time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torchdiff.blocks import Mat
from torchdiff.errors import OptionError
from torchdiff.registry import SDES
from torchdiff.sde.base import Level, ScalarSDE


@SDES.register("edm")
@dataclass(frozen=True)
class EDM(ScalarSDE):
    """Variance-exploding process with sigma for time.

        dx = sqrt(2 t) dw,   alpha(t) = 1,   sigma(t) = t

    t is in units of the data, in [0, t_max], data at t = 0, where there is no noise; samplers end at t_min.
    Raises OptionError for t outside [0, t_max].
    Source: Karras et al. 2022, arXiv:2206.00364, table 1 (sigma from 0.002 to 80).
    """

    t_min: float = 0.002
    t_max: float = 80.0

    def __post_init__(self) -> None:
        self.check_range()

    def alpha(self, t: float) -> float:
        return 1.0

    def sigma(self, t: float) -> float:
        return t

    def rates(self, t: float) -> tuple[float, float]:
        return 0.0, 1.0

    def at(self, half_log_snr: float) -> Level:
        if not -half_log_snr < 700.0:  # also refuses nan; no float has a larger exponential
            raise OptionError(f"{self!r} has no time in [0, {self.t_max:g}] with half_log_snr = {half_log_snr!r}")
        t = self.settle(math.exp(-half_log_snr), half_log_snr)
        return Level(t, 1.0, math.exp(-half_log_snr))

    def noise(self, t: float) -> Mat:
        return Mat([[math.sqrt(2.0 * self.check_time(t))]])

    def transition(self, start: float, end: float) -> tuple[Mat, Mat]:
        self.check_span(start, end)
        return Mat([[1.0]]), Mat([[math.sqrt((end - start) * (end + start))]])
