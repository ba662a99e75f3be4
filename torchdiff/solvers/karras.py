"""Single steps in sigma / alpha, without noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.registry import SOLVERS
from torchdiff.solvers.base import Noise, Predict, Span
from torchdiff.solvers.ratio import midpoint, ratio, slope_step
from torchdiff.solvers.scalar import Noiseless


@SOLVERS.register("euler")
@dataclass(frozen=True)
class Euler(Noiseless):
    """Euler's method in sigma / alpha, which is DDIM.

    Source: Karras et al. 2022, arXiv:2206.00364, algorithm 1 without its correction.
    """

    weak_order: ClassVar[float] = 1.0

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        return slope_step(x, cur, nxt.alpha, ratio(nxt) - ratio(cur), predict(x, cur).eps)


@SOLVERS.register("dpm2")
@dataclass(frozen=True)
class DPM2(Noiseless):
    """The midpoint method in sigma / alpha, its midpoint in log(sigma / alpha): second order, two network calls a step.

    Source: k-diffusion's sample_dpm_2; Karras et al. 2022, arXiv:2206.00364, appendix D.2.
    """

    weak_order: ClassVar[float] = 2.0
    calls: ClassVar[int] = 2

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        return midpoint(x, span, predict, ratio(span.nxt))
