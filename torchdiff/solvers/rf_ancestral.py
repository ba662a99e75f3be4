"""Euler ancestral on the straight path of flow matching."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.errors import OptionError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import LinearSDE
from torchdiff.sde.flow import Flow
from torchdiff.solvers.base import AffineSolver, Noise, Predict, Span


@SOLVERS.register("rf_ancestral")
@dataclass(frozen=True)
class RFAncestral(AffineSolver):
    """Euler ancestral on the straight path: Euler's step to sigma_down, and a return that keeps alpha + sigma = 1.

        down = s' (1 + (s' / s - 1) eta),   x_down = (down / s) x + (1 - down / s) x0
        x' = (alpha' / alpha_down) x_down + sqrt(s'^2 - (down alpha' / alpha_down)^2) z

    Raises OptionError for eta outside [0, 1].
    Source: ComfyUI's sample_euler_ancestral_RF.
    """

    eta: float = 1.0
    weak_order: ClassVar[float] = 1.0
    accepts: ClassVar[type[LinearSDE]] = Flow
    ends: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0.0 <= self.eta <= 1.0:
            raise OptionError(f"rf_ancestral: eta must lie in [0, 1], got {self.eta!r}")

    @property
    def deterministic(self) -> bool:
        return self.eta == 0.0

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        x0 = predict(x, cur).x0
        down = nxt.sigma * (1.0 + (nxt.sigma / cur.sigma - 1.0) * self.eta)
        gain, back = down / cur.sigma, nxt.alpha / (1.0 - down)
        x = (back * gain) * x + (back * (1.0 - gain)) * x0
        if self.eta == 0.0 or nxt.sigma == 0.0:
            return x
        return x + math.sqrt(nxt.sigma**2 - (down * back) ** 2) * noise(cur, nxt)
