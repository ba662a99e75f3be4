"""The straight path from data to noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torchdiff.blocks import Mat
from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.registry import SDES
from torchdiff.sde.base import Level, ScalarSDE


@SDES.register("flow")
@dataclass(frozen=True)
class Flow(ScalarSDE):
    """Straight path of rectified flow, or conditional optimal transport.

        alpha(t) = 1 - t,   sigma(t) = t,   t in [0, 1], data at t = 0
        dx = -x / (1 - t) dt + sqrt(2 t / (1 - t)) dw

    t is dimensionless. At t = 1 alpha is 0: drift and diffusion are infinite there, the velocity
    alpha' x0 + sigma' eps = eps - x0 is not. A network that predicts "flow" gives that velocity.
    Raises OptionError for t_max > 1 and t outside [0, t_max]; IncompatibleError for drift or diffusion at t = 1.
    Source: Liu et al. 2023, arXiv:2209.03003, eq. 1; Lipman et al. 2023, arXiv:2210.02747, eq. 22 (their t is 1 - t).
    """

    t_min: float = 0.0
    t_max: float = 1.0

    def __post_init__(self) -> None:
        self.check_range()
        if self.t_max > 1.0:
            raise OptionError(f"flow runs from t = 0 to 1, where alpha = 0; got t_max = {self.t_max!r}")

    def alpha(self, t: float) -> float:
        return 1.0 - t

    def sigma(self, t: float) -> float:
        return t

    def rates(self, t: float) -> tuple[float, float]:
        return -1.0, 1.0

    def at(self, half_log_snr: float) -> Level:
        # one exponential of a negative number, so that neither end overflows
        small = math.exp(-abs(half_log_snr))
        less, more = small / (1.0 + small), 1.0 / (1.0 + small)
        alpha, sigma = (more, less) if half_log_snr > 0.0 else (less, more)
        return Level(self.settle(sigma, half_log_snr), alpha, sigma)

    def noise(self, t: float) -> Mat:
        self.drift(t)  # refuses t = 1
        return Mat([[math.sqrt(2.0 * t / (1.0 - t))]])

    def transition(self, start: float, end: float) -> tuple[Mat, Mat]:
        self.check_span(start, end)
        if start == 1.0:
            raise IncompatibleError(f"no transition of {self!r} starts at t = 1, where alpha = 0")
        mean = (1.0 - end) / (1.0 - start)
        # sigma_end^2 - mean^2 sigma_start^2 = (end - mean start) (end + mean start), the first without cancellation
        spread = math.sqrt((end - start) / (1.0 - start) * (end + mean * start))
        return Mat([[mean]]), Mat([[spread]])
