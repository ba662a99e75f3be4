"""Euler-Maruyama on the reverse SDE, for any number of blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.registry import SOLVERS
from torchdiff.solvers.base import AffineSolver, Noise, Predict, Span


def reverse_drift(x: Any, span: Span, predict: Predict) -> Any:
    """F x - G G^T score at span.cur: the drift of the reverse SDE (Anderson 1982; Song et al. 2021, eq. 6)."""
    cur = span.cur
    diffusion = span.sde.noise(cur.t)
    return span.sde.drift(cur.t) @ x - (diffusion @ diffusion.T) @ predict(x, cur).score


@SOLVERS.register("euler_maruyama")
@dataclass(frozen=True)
class EulerMaruyama(AffineSolver):
    """Euler-Maruyama on the reverse-time SDE, one network call a step.

        x_nxt = x + (F x - G G^T score) (t_nxt - t_cur) + G sqrt(t_cur - t_nxt) z

    Source: Song et al. 2021, arXiv:2011.13456, appendix D; steps are those of the grid, which ends at t_min.
    """

    weak_order: ClassVar[float] = 1.0
    strong_order: ClassVar[float] = 1.0  # the noise does not depend on x

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        spread = span.sde.noise(cur.t) * math.sqrt(cur.t - nxt.t)
        return x + reverse_drift(x, span, predict) * (nxt.t - cur.t) + spread @ noise(cur, nxt)


@dataclass(frozen=True)
class Mean(AffineSolver):
    """The mean of an Euler-Maruyama step: how a block SDE, which has no x0 of its own, takes its last interval.

    Source: Dockhorn et al. 2022, arXiv:2112.07068, appendix C.4 ("denoising").
    """

    weak_order: ClassVar[float] = 1.0

    @property
    def deterministic(self) -> bool:
        return True

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        return x + reverse_drift(x, span, predict) * (span.nxt.t - span.cur.t)
