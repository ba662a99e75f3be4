"""DPM-Solver++: exponential multistep in log-SNR on the data prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.registry import SOLVERS
from torchdiff.sde.base import LinearSDE, ScalarSDE
from torchdiff.solvers.base import AffineSolver, Carry, Noise, Predict, Span


@SOLVERS.register("dpmpp_2m")
@dataclass(frozen=True)
class DPMpp2M(AffineSolver):
    """DPM-Solver++(2M): second order with one network call a step.

        x_nxt = sigma_nxt / sigma_cur x - alpha_nxt (e^{-h} - 1) d,   d = x0 + (x0 - x0_old) / (2r),   r = h_old / h

    h is the rise of log(alpha / sigma). The first step, and a step to sigma = 0, take d = x0 (DDIM).
    Runs from data to noise too.
    Source: Lu et al. 2022, arXiv:2211.01095, algorithm 2.
    """

    order: ClassVar[float] = 2.0
    memory: ClassVar[int] = 1
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE
    ends: ClassVar[bool] = True

    @property
    def deterministic(self) -> bool:
        return True

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        x0 = predict(x, cur).x0
        h = nxt.half_log_snr - cur.half_log_snr
        d = x0
        if span.past and nxt.sigma > 0.0:
            old, x0_old = span.past[0]
            r = (cur.half_log_snr - old.half_log_snr) / h
            d = (1.0 + 0.5 / r) * x0 - (0.5 / r) * x0_old
        return Carry((nxt.sigma / cur.sigma) * x - (nxt.alpha * math.expm1(-h)) * d, (cur, x0))
