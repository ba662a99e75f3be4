"""A solver of second order with two network calls a step."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torchdiff import AffineSolver, ScalarSDE


@dataclass(frozen=True)
class ExampleSolver(AffineSolver):
    """DPM-Solver-2: the exponential midpoint method in log-SNR on the noise prediction.

        u     = alpha_mid / alpha_cur x - sigma_mid (e^{r h} - 1) eps(x, cur)
        x_nxt = alpha_nxt / alpha_cur x - sigma_nxt (e^h - 1) (eps_cur + (eps(u, mid) - eps_cur) / 2r)

    h is the rise of log(alpha / sigma); mid is the level at a fraction r = ratio of it.
    Raises ValueError for a ratio outside (0, 1).
    Source: Lu et al. 2022, arXiv:2206.00927, algorithm 1, which has r = 1/2.
    """

    ratio: float = 0.5
    weak_order: ClassVar[float] = 2.0
    calls: ClassVar[int] = 2
    accepts: ClassVar[type] = ScalarSDE
    torchdiff_api = 1

    def __post_init__(self):
        if not 0.0 < self.ratio < 1.0:
            raise ValueError(f"example: ratio must lie in (0, 1), got {self.ratio!r}")

    @property
    def deterministic(self):
        return True

    def step(self, x, span, predict, noise):
        cur, nxt, r = span.cur, span.nxt, self.ratio
        h = nxt.half_log_snr - cur.half_log_snr
        mid = span.sde.at(cur.half_log_snr + r * h)
        eps = predict(x, cur).eps
        u = mid.alpha / cur.alpha * x - mid.sigma * math.expm1(r * h) * eps
        change = predict(u, mid).eps - eps
        return nxt.alpha / cur.alpha * x - nxt.sigma * math.expm1(h) * (eps + 0.5 / r * change)
