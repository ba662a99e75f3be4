"""Symmetric splitting for critically damped Langevin dynamics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.blocks import Blocks, Mat
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import Level, LinearSDE
from torchdiff.sde.cld import CLD
from torchdiff.solvers.base import AffineSolver, Noise, Predict, Span

FLIP = Mat.diag(1.0, -1.0)  # reversing time turns the velocity round


@SOLVERS.register("sscs")
@dataclass(frozen=True)
class SSCS(AffineSolver):
    """Symmetric splitting CLD sampler: half an exact Langevin step, a score step, half an exact Langevin step.

        A: the reverse-time process of the stationary law, (x, v) <- J E J (x, v) + J L z over half the interval
        S: v <- v + 2 Gamma beta(t_cur) (score_v(x, v; t_cur) + v / M) dt

    E and L are the forward kernel's mean map and Cholesky factor over the same times, J = diag(1, -1). Each half
    uses its own half of the interval, so beta may vary. The score step is Euler's: order 1.
    Source: Dockhorn et al. 2022, arXiv:2112.07068, algorithm 1 and appendix D; its code takes both halves at one clock.
    """

    order: ClassVar[float] = 1.0
    accepts: ClassVar[type[LinearSDE]] = CLD

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt, sde = span.cur, span.nxt, span.sde
        assert isinstance(sde, CLD)
        middle = sde.level(0.5 * (cur.t + nxt.t))

        def langevin(x: Blocks, start: Level, end: Level) -> Blocks:
            mean, factor = sde.transition(end.t, start.t)
            return (FLIP @ mean @ FLIP) @ x + (FLIP @ factor) @ noise(start, end)

        x = langevin(x, cur, middle)
        push = 2.0 * sde.friction * sde.rate(cur.t) * (cur.t - nxt.t)
        x = x + Mat.diag(0.0, push) @ (predict(x, cur).score + Mat.diag(0.0, 1.0 / sde.mass) @ x)
        return langevin(x, middle, nxt)
