"""The last interval, from t_min to the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.sde.base import LinearSDE, ScalarSDE
from torchdiff.solvers.base import AffineSolver, Noise, Predict, Solver, Span
from torchdiff.solvers.euler_maruyama import Mean


@dataclass(frozen=True)
class Denoise(AffineSolver):
    """x_0 = alpha_0 x0(x): the posterior mean of the data (Tweedie's formula; Efron 2011)."""

    accepts: ClassVar[type[LinearSDE]] = ScalarSDE
    ends: ClassVar[bool] = True

    @property
    def deterministic(self) -> bool:
        return True

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        return span.nxt.alpha * predict(x, span.cur).x0


def denoiser_for(sde: LinearSDE) -> Solver:
    """The solver of the last interval: the posterior mean, or for block SDEs the mean of an Euler-Maruyama step."""
    return Denoise() if isinstance(sde, ScalarSDE) else Mean()
