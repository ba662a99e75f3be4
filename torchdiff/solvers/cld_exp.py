"""Exponential integrators of the reverse SDE, for any number of blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torchdiff.blocks import Mat, pack, unpack
from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import Level
from torchdiff.solvers.base import AffineSolver, Carry, Noise, Predict, Span
from torchdiff.solvers.exponential import check_amount, data_step, rise, spread, weights
from torchdiff.solvers.whitened import flow, reading

BLIND = 1e-8  # of what stands beside it: x0 would be read with half of the digits


@SOLVERS.register("cld_exp")
@dataclass(frozen=True)
class CLDExp(AffineSolver):
    """Exponential integrator of the reverse SDE with eta times its noise (gDDIM), for noise in the last block.

        dx = (F x - (1 + eta^2) / 2 G G^T score) dt + eta G dw,   score of the last block = a . x + b n
        x_nxt = Phi x + sum_j n_j int Phi(nxt, tau) (1 + eta^2) / 2 G G^T b L_j dtau + N(0, Q)

    with the n_j held over the step, or for order 2 the line in t through this and the last one, and Phi, the integrals
    and Q, what noise adds to the linear part, exact to 1e-13. eta = 0 is the probability flow, eta = 1 the reverse SDE.
    hold: "x0" holds E[x0 | x], which the last score tells by score = -Sigma^-1 (x - alpha x0): gDDIM with K = R, exact
    in law where the data is one point, whatever the step. "eps" holds -L_last score, K = L, the Cholesky factor:
    its linear part is F alone, which grows without bound on the way back, and so do its errors where steps are few.
    The first step of order 2 is of order 1. On one block the line is one in log(alpha / sigma), and order 1 is ddim for
    eta = 0 and, with x0 held, for eta = 1. Runs from data to noise too if eta = 0.
    Raises OptionError for another order, hold or eta; IncompatibleError where Sigma is singular, as at t = 0, and where
    the score does not tell x0, as at some times of underdamped processes: "eps" is for them.
    Source: Zhang, Tao & Chen 2022, arXiv:2206.05564, section 4 (gDDIM; K_t = R_t); Lu et al. 2022, arXiv:2211.01095,
    eq. 8 (one block).
    """

    eta: float = 0.0
    order: int = 2
    hold: str = "x0"

    def __post_init__(self) -> None:
        check_amount("cld_exp", "eta", self.eta)
        if self.order not in (1, 2):
            raise OptionError(f"cld_exp: order is 1 or 2, got {self.order!r}")
        if self.hold not in ("x0", "eps"):
            raise OptionError(f"cld_exp: hold is 'x0' or 'eps', got {self.hold!r}")

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return float(self.order)

    @property
    def strong_order(self) -> float | None:  # type: ignore[override]
        return None if self.deterministic else 1.0

    @property
    def memory(self) -> int:  # type: ignore[override]
        return self.order - 1

    @property
    def draws(self) -> int:
        return int(not self.deterministic)

    @property
    def deterministic(self) -> bool:
        return self.eta == 0.0

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        take = self._scalar if span.cur.scalar else self._blocks
        moved, fresh, memo = take(x, span, predict(x, span.cur))
        if not self.deterministic:
            moved = moved + fresh @ noise(span.cur, span.nxt)
        return Carry(moved, memo(moved)) if self.memory else moved

    def _scalar(self, x: Any, span: Span, model: Any) -> tuple[Any, Mat, Memo]:
        cur, nxt, eta = span.cur, span.nxt, self.eta
        h, now = rise(cur, nxt), (cur, model.x0 if self.hold == "x0" else model.eps)
        nodes = [now, *span.past]
        if self.hold == "x0":
            return data_step(x, cur, nxt, nodes, eta**2), Mat([[spread(cur, nxt, eta**2)]]), lambda moved: now
        x = (nxt.alpha / cur.alpha) * x
        for weight, (_, eps) in zip(weights([rise(cur, at) for at, _ in nodes], h, -1.0), nodes, strict=True):
            x = x + (nxt.sigma * (1.0 + eta**2) * weight) * eps
        return x, Mat([[eta * nxt.sigma * math.sqrt(math.expm1(2.0 * h))]]), lambda moved: now

    def _blocks(self, x: Any, span: Span, model: Any) -> tuple[Any, Mat, Memo]:
        cur, nxt, sde = span.cur, span.nxt, span.sde
        for level in (cur, nxt):
            if any(row[i] == 0.0 for i, row in enumerate(level.sigma)):
                raise IncompatibleError(
                    f"{self!r} needs Sigma^-1, which {sde!r} has not at t = {level.t:g}; end above t = 0 (t_min), and "
                    f"let noise reach every block"
                )
        own, factor = reading(cur, self.hold)
        if abs(factor) < BLIND * max(map(abs, own)) * max(abs(row[0]) for row in cur.alpha):
            raise IncompatibleError(
                f"at t = {cur.t:g} the last block's score of {sde!r} says nothing of x0; take cld_exp:hold=eps"
            )
        held = unpack(model.score)[-1]
        for weight, block in zip(own, unpack(x), strict=True):
            held = held - block * weight
        held = held * (1.0 / factor)
        nodes = [(cur.t, held), *((t, shown(memo, x, cur) if self.hold == "x0" else memo) for t, memo in span.past)]
        step = flow(sde, cur, nxt, self.eta, self.hold, [t for t, _ in nodes])
        moved = step.mean @ x
        for pull, (_, n) in zip(step.pulls, nodes, strict=True):
            moved = moved + pack(n * weight for weight in pull)
        return moved, step.noise, lambda moved: (cur.t, hidden(held, moved, nxt) if self.hold == "x0" else held)


Memo = Callable[[Any], tuple[Any, Any]]  # what to remember, from the new x


def hidden(x0: Any, x: Any, level: Level) -> Any:
    """x0, or where the noise is less than it the position's part of L^-1 (x - alpha x0).

    Near the data x0 and x are alike, and their difference decides: a row of the plan has it to its own digits, the
    difference of two that are stored has not.
    """
    alpha, sigma = level.alpha[0][0], level.sigma[0][0]
    return x0 if alpha <= sigma else (unpack(x)[0] - x0 * alpha) * (1.0 / sigma)


def shown(memo: Any, x: Any, level: Level) -> Any:
    """The x0 that `hidden` hid, from the same x."""
    alpha, sigma = level.alpha[0][0], level.sigma[0][0]
    return memo if alpha <= sigma else (unpack(x)[0] - memo * sigma) * (1.0 / alpha)
