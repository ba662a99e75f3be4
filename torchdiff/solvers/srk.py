"""A stochastic Runge-Kutta method for noise that does not depend on x, of strong order 3/2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.levy import joint
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import Level
from torchdiff.solvers.base import AffineSolver, Noise, Predict, Span


@SOLVERS.register("srk")
@dataclass(frozen=True)
class SRK(AffineSolver):
    """Roessler's SRA1 on the reverse-time SDE of any linear SDE, two network calls a step.

        f(x, t) = G G^T score - F x,   h = t_cur - t_nxt,   W the noise over the step, U the integral of W along it
        y     = x + 3/4 h f(x, t_cur) + 3/2 G(t_nxt) U / h,   at t_cur - 3/4 h
        x_nxt = x + h (f(x, t_cur) + 2 f(y, .)) / 3 + G(t_nxt) (W - U / h) + G(t_cur) U / h

    Strong order 3/2, 2 where the score is linear in x; the law of x converges with order 2. U = h (W / 2 + H) takes a
    second draw, the space-time Levy area H; with noise="brownian" both are those of the seed's path.
    Source: Roessler 2010, SIAM J. Numer. Anal. 48, 922, scheme SRA1; Foster, Lyons & Oberhauser 2020, arXiv:1904.06998
    (W and H).
    """

    weak_order: ClassVar[float] = 2.0
    strong_order: ClassVar[float] = 1.5
    calls: ClassVar[int] = 2

    @property
    def draws(self) -> int:
        return 2

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt, sde = span.cur, span.nxt, span.sde
        h = cur.t - nxt.t

        def slope(x: Any, level: Level) -> Any:
            spread = sde.noise(level.t)
            return (spread @ spread.T) @ predict(x, level).score - sde.drift(level.t) @ x

        w, u = joint(noise)(cur, nxt)
        late = sde.noise(nxt.t)
        first = slope(x, cur)
        second = slope(x + first * (0.75 * h) + late @ u * (1.5 / h), sde.level(cur.t - 0.75 * h))
        return x + (first + second * 2.0) * (h / 3.0) + late @ (w - u * (1.0 / h)) + sde.noise(cur.t) @ u * (1.0 / h)
