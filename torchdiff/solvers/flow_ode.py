"""Runge-Kutta methods on the probability flow in t, and Heun's method in sigma / alpha."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.errors import OptionError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import LinearSDE, ScalarSDE
from torchdiff.solvers.base import AffineSolver, Noise, Predict, Span
from torchdiff.solvers.probability_flow import ProbabilityFlow
from torchdiff.solvers.tableaus import TABLEAUS

METHODS = ("euler", "heun")


@SOLVERS.register("ode")
@dataclass(frozen=True)
class ODE(AffineSolver):
    """Runge-Kutta on the probability flow in t: dx/dt = F x - G G^T score / 2, any number of blocks.

    method: "euler" (1 network call a step, order 1) or "heun" (2 calls, order 2). One-block SDEs use the velocity
    alpha' x0 + sigma' eps, which stays finite where F does not. A step from alpha = 0 or to sigma = 0 is DDIM's, with
    one call. Runs from data to noise too.
    Raises OptionError for another method.
    Source: Song et al. 2021, arXiv:2011.13456, eq. 13.
    """

    method: str = "heun"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise OptionError(f"ode: method is one of {', '.join(METHODS)}, got {self.method!r}")

    @property
    def weak_order(self) -> float:  # type: ignore[override]  # of the chosen method
        return float(TABLEAUS[self.method].order)

    @property
    def calls(self) -> int:  # type: ignore[override]
        return len(TABLEAUS[self.method].rows)

    @property
    def deterministic(self) -> bool:
        return True

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        return ProbabilityFlow("t", span.sde).single(x, span, predict, TABLEAUS[self.method])[0]


@SOLVERS.register("heun")
@dataclass(frozen=True)
class Heun(AffineSolver):
    """Heun's method on the probability flow in s = sigma / alpha: d(x / alpha) / ds = eps. Two network calls a step.

    A step from alpha = 0 or to sigma = 0 is DDIM's, with one call. Runs from data to noise too.
    Source: Karras et al. 2022, arXiv:2206.00364, algorithm 1, with x / alpha for their x and no churn.
    """

    weak_order: ClassVar[float] = 2.0
    calls: ClassVar[int] = 2
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE

    @property
    def deterministic(self) -> bool:
        return True

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        ratio = nxt.alpha / cur.alpha
        ds = nxt.sigma - ratio * cur.sigma  # alpha_nxt times the step in sigma / alpha
        eps = predict(x, cur).eps
        ahead = predict(ratio * x + ds * eps, nxt).eps
        return ratio * x + (0.5 * ds) * eps + (0.5 * ds) * ahead
