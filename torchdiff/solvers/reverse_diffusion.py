"""The samplers that read a reverse step off the forward one: reverse diffusion, and ancestral sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.registry import SOLVERS
from torchdiff.sde.base import LinearSDE, ScalarSDE
from torchdiff.solvers.base import AffineSolver, Noise, Predict, Span


def forward_step(span: Span) -> tuple[float, float]:
    """(m, c) of the forward step x_cur = m x_nxt + c z, exact: the transition of the SDE over the interval.

    Where the paper has a table: m = sqrt(1 - beta_i), c = sqrt(beta_i) for VP; m = 1, c^2 = sigma_i^2 - sigma_{i-1}^2
    for VE.
    """
    mean, factor = span.sde.transition(span.nxt.t, span.cur.t)
    return mean[0][0], factor[0][0]


@SOLVERS.register("reverse_diffusion")
@dataclass(frozen=True)
class ReverseDiffusion(AffineSolver):
    """Reverse diffusion sampling: the forward step x_cur = x_nxt + f(x_nxt) + G z, turned round.

        x_nxt = x - f(x) + G^2 score + G z,   f(x) = (m - 1) x,   G = c,   x_cur = m x_nxt + c z the exact transition

    A step from alpha = 0 or to sigma = 0 is DDIM's, which adds no noise.
    Source: Song et al. 2021, arXiv:2011.13456, appendix E.
    """

    weak_order: ClassVar[float] = 1.0
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        m, c = forward_step(span)
        return (2.0 - m) * x + c**2 * predict(x, span.cur).score + c * noise(span.cur, span.nxt)


@SOLVERS.register("ancestral")
@dataclass(frozen=True)
class Ancestral(AffineSolver):
    """Ancestral sampling: the posterior mean of x_nxt by Tweedie's formula, and noise.

        x_nxt = (x + c^2 score) / m + d z,   x_cur = m x_nxt + c z the exact transition
        d = c sigma_nxt / sigma_cur where alpha stays as it is (VE),   d = c where it falls (VP)

    VE: x + (sigma_i^2 - sigma_{i-1}^2) score and the posterior's noise, sqrt(sigma_{i-1}^2 (sigma_i^2 - sigma_{i-1}^2)
    / sigma_i^2). VP: (x + beta_i score) / sqrt(1 - beta_i) and the noise of the forward step, sqrt(beta_i). SDEs that
    the paper does not treat are read as VP is. A step from alpha = 0 or to sigma = 0 is DDIM's, which adds no noise.
    Source: Song et al. 2021, arXiv:2011.13456, eq. 4 (VP) and appendix F (VE).
    """

    weak_order: ClassVar[float] = 1.0
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        m, c = forward_step(span)
        d = c * nxt.sigma / cur.sigma if cur.alpha == nxt.alpha else c
        return (1.0 / m) * x + (c**2 / m) * predict(x, cur).score + d * noise(cur, nxt)
