"""EDM's stochastic sampler: churn, then Heun's step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.registry import SOLVERS
from torchdiff.sde.base import Level, LinearSDE, ScalarSDE
from torchdiff.solvers.base import AffineSolver, Noise, Predict, Span
from torchdiff.solvers.exponential import check_amount
from torchdiff.solvers.ratio import ratio, slope_step


@SOLVERS.register("edm")
@dataclass(frozen=True)
class EDM(AffineSolver):
    """EDM's stochastic sampler: churn, then Heun's step in s = sigma / alpha. Two network calls a step.

        s^ = s (1 + g),   g = min(churn / N, sqrt(2) - 1) where low <= s <= high,   x^ = x + sqrt(s^^2 - s^2) noise z
        then heun from s^ to the next level

    x is in units of x / alpha; N counts the intervals of the grid, the final one included. s^ never exceeds the largest
    level of the SDE. A step to sigma = 0 churns too, and then takes x0. churn = 0 is heun, of order 2; with churn the
    law of x converges at order 2 from the exact law at the start, but what becomes of a start that is not exact only at
    order 1, for g is not churn / N to second order.
    Raises OptionError for churn < 0 or s_noise < 0.
    Source: Karras et al. 2022, arXiv:2206.00364, algorithm 2.
    """

    churn: float = 0.0
    low: float = 0.0
    high: float = math.inf
    s_noise: float = 1.0
    calls: ClassVar[int] = 2
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE
    ends: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_amount("edm", "churn", self.churn)
        check_amount("edm", "s_noise", self.s_noise)

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return 2.0 if self.churn == 0.0 else 1.0

    @property
    def deterministic(self) -> bool:
        return self.churn == 0.0

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        if cur.alpha == 0.0:  # s is infinite
            model = predict(x, cur)
            return nxt.alpha * model.x0 + nxt.sigma * model.eps
        if self.churn > 0.0 and self.low <= ratio(cur) <= self.high:
            raised = self.raised(span)
            if raised is not cur:
                extra = math.sqrt(ratio(raised) ** 2 - ratio(cur) ** 2)
                x = (raised.alpha / cur.alpha) * x + (raised.alpha * self.s_noise * extra) * noise(cur, cur)
                cur = raised
        if nxt.sigma == 0.0:
            return nxt.alpha * predict(x, cur).x0
        width = ratio(nxt) - ratio(cur)
        eps = predict(x, cur).eps
        ahead = predict(slope_step(x, cur, nxt.alpha, width, eps), nxt).eps
        return slope_step(x, cur, nxt.alpha, width, 0.5 * eps + 0.5 * ahead)

    def raised(self, span: Span) -> Level:
        """The level that churn goes up to, the present one where the SDE has no higher."""
        sde, cur = span.sde, span.cur
        top = sde.level(sde.t_max)
        if not cur.half_log_snr > top.half_log_snr:
            return cur
        gain = min(self.churn / (len(span.grid) - 1), math.sqrt(2.0) - 1.0)
        assert isinstance(sde, ScalarSDE)
        return sde.at(max(cur.half_log_snr - math.log1p(gain), top.half_log_snr))
