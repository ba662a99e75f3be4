"""ER-SDE: multistep integrators of reverse SDEs with any amount of noise, in r = sigma / alpha.

    d(x / alpha) = (1 + e(r)) (x / alpha - x0) dr / r + r sqrt(2 e(r)) dw over log r,   phi' / phi = (1 + e) / r
    x_nxt / alpha_nxt = q x / alpha_cur + phi(r_nxt) int_nxt^cur phi' / phi^2 x0 dr + sqrt(r_nxt^2 - q^2 r_cur^2) z,
    q = phi(r_nxt) / phi(r_cur)

e is the squared noise in units of that of the reverse SDE, and phi(r) / r must not fall: e = 0 is the probability flow,
e = 1 the reverse SDE.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torchdiff.errors import OptionError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import Level, LinearSDE, ScalarSDE
from torchdiff.solvers.base import AffineSolver, Carry, Noise, Predict, Span
from torchdiff.solvers.exponential import Node, between, check_start, rise
from torchdiff.solvers.quadrature import composite, lagrange
from torchdiff.solvers.ratio import ratio


class Scaler(NamedTuple):
    """log(phi(r) / r) and its derivative by log r, which is e(r)."""

    log: Callable[[float], float]
    excess: Callable[[float], float]


def _power(p: float) -> Scaler:
    return Scaler(lambda r: (p - 1.0) * math.log(r), lambda r: p - 1.0)


def _er_4(r: float) -> float:
    much = 100.0 * r**1.5
    return 1.5 * much / ((1.0 + much) * math.log1p(much)) - 0.1


def _softplus(v: float) -> float:
    """log(e^v + 10), where e^v may overflow."""
    return max(v, 0.0) + math.log(math.exp(min(v, 0.0)) + 10.0 * math.exp(-max(v, 0.0)))


def _share(v: float) -> float:
    """e^v / (e^v + 10), the derivative of that."""
    return 1.0 / (1.0 + 10.0 * math.exp(-v)) if v > 0.0 else math.exp(v) / (math.exp(v) + 10.0)


# phi(r) of the paper's table and its code: r, r^2, r (e^{-1/r} + 10), r^1.5, r^2.5, r^0.9 log10(1 + 100 r^1.5),
# r (e^{r^0.3} + 10)
SCALERS = {
    "ode": _power(1.0),
    "sde": _power(2.0),
    "er_1": Scaler(lambda r: _softplus(-1.0 / r), lambda r: _share(-1.0 / r) / r),
    "er_2": _power(1.5),
    "er_3": _power(2.5),
    "er_4": Scaler(lambda r: math.log(math.log1p(100.0 * r**1.5)) - 0.1 * math.log(r), _er_4),
    "er_5": Scaler(lambda r: _softplus(r**0.3), lambda r: 0.3 * r**0.3 * _share(r**0.3)),
}


def weights(cur: Level, nxt: Level, levels: Sequence[Level], scaler: Scaler) -> list[float]:
    """phi(r_nxt) int_nxt^cur phi' / phi^2 L_j dr for the Lagrange polynomials L_j in r through these levels.

    int_0^h (1 + e) e^{-(h - u)} phi_(r_nxt) / phi_(r) L_j du, r = r_cur e^{-u}, phi_ = phi / r: to 1e-13.
    """
    h, places, last = rise(cur, nxt), [ratio(level) for level in levels], scaler.log(ratio(nxt))
    sums: list[list[float]] = [[] for _ in levels]
    for u, width in composite(h):
        r = places[0] * math.exp(-u)
        mass = width * (1.0 + scaler.excess(r)) * math.exp(u - h + last - scaler.log(r))
        for j, terms in enumerate(sums):
            terms.append(mass * lagrange(places, j, r))
    return [math.fsum(terms) for terms in sums]


def er_step(x: Any, cur: Level, nxt: Level, nodes: Sequence[Node], scaler: Scaler) -> Any:
    """The mean of x at nxt, x0 being the polynomial in sigma / alpha through the nodes, of which cur is the first."""
    x = carry(cur, nxt, scaler) * x
    for weight, (_, x0) in zip(weights(cur, nxt, [level for level, _ in nodes], scaler), nodes, strict=True):
        x = x + (nxt.alpha * weight) * x0
    return x


def carry(cur: Level, nxt: Level, scaler: Scaler) -> float:
    """The weight of x in the step."""
    return nxt.sigma / cur.sigma * math.exp(scaler.log(ratio(nxt)) - scaler.log(ratio(cur)))


def noise_of(cur: Level, nxt: Level, scaler: Scaler) -> float:
    """The standard deviation of the noise that a step adds: sigma_nxt sqrt(1 - e^{-2 int e du})."""
    # the integral of e >= 0, not the difference of logarithms: er_1's is 1e-15 of them where sigma / alpha is small
    amount = math.fsum(width * scaler.excess(ratio(cur) * math.exp(-u)) for u, width in composite(rise(cur, nxt)))
    if amount < 0.0:
        raise OptionError(
            f"er_sde: this scaler's phi(r) / r falls between r = sigma / alpha = {ratio(nxt):g} and {ratio(cur):g}, "
            f"where the variance of its noise is negative; er_4's does above 1020: start lower, or use er_5"
        )
    return nxt.sigma * math.sqrt(-math.expm1(-2.0 * amount))


@SOLVERS.register("er_sde")
@dataclass(frozen=True)
class ERSDE(AffineSolver):
    """ER-SDE-Solver of order 1 to 3: x0 as a polynomial in r = sigma / alpha through its last values; one call a step.

        x_nxt / alpha_nxt = q x / alpha_cur + phi(r_nxt) int_nxt^cur phi' / phi^2 x0 dr + sqrt(r_nxt^2 - q^2 r_cur^2) z
        q = phi(r_nxt) / phi(r_cur)

    scaler: phi is r for "ode" (the probability flow), r^2 for "sde" (the reverse SDE), and the paper's ER-SDE-1..5 are
    "er_1" = r (e^{-1/r} + 10), "er_2" = r^1.5, "er_3" = r^2.5, "er_4" = r^0.9 log10(1 + 100 r^1.5), "er_5" = r
    (e^{r^0.3} + 10). With noise the weak order is 2 at most. The first steps use the predictions that there are: start
    "lower", of order 2 then; "single" begins with one second-order single step of two calls instead. VE and VP solvers
    of the paper are one, x / alpha in place of x; its code takes the difference quotient of the last two predictions
    for the slope at cur, which makes its order 3 one of 2, and sums 100 rectangles.
    Raises OptionError for an order outside 1..3, another scaler or start, a start of order 1, and er_4 above sigma /
    alpha = 1020.
    Source: Cui et al. 2023, arXiv:2309.06169, ER-SDE-Solver-1 to -3 and, for the scalers, their code.
    """

    order: int = 3
    scaler: str = "er_5"
    start: str = "lower"
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3):
            raise OptionError(f"er_sde: order is from 1 to 3, got {self.order!r}")
        if self.scaler not in SCALERS:
            raise OptionError(f"er_sde: scaler is one of {', '.join(SCALERS)}, got {self.scaler!r}")
        check_start("er_sde", self.start)
        if self.start == "single" and self.order == 1:
            raise OptionError("er_sde: order 1 needs no start, got start = 'single'")

    @property
    def memory(self) -> int:  # type: ignore[override]
        return self.order - 1

    @property
    def calls(self) -> int:  # type: ignore[override]
        return 2 if self.start == "single" else 1

    @property
    def draws(self) -> int:
        return 0 if self.deterministic else self.calls

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return float(self.order if self.deterministic and self.start == "single" else min(self.order, 2))

    @property
    def deterministic(self) -> bool:
        return self.scaler == "ode"

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        x0 = predict(x, cur).x0
        nodes, fresh = [(cur, x0), *span.past][: self.order], None
        if not span.past and self.start == "single":
            middle = between(span, 0.5)
            fresh = self.refresh(cur, middle, noise)
            point = er_step(x, cur, middle, nodes, SCALERS[self.scaler])
            nodes.append((middle, predict(point if fresh is None else point + fresh, middle).x0))
        mean = er_step(x, cur, nxt, nodes, SCALERS[self.scaler])
        if not self.deterministic:
            before = cur if fresh is None else nodes[-1][0]
            mean = mean + self.refresh(before, nxt, noise)
            if fresh is not None:  # the noise of the first half, carried on
                mean = mean + carry(before, nxt, SCALERS[self.scaler]) * fresh
        return mean if self.order == 1 else Carry(mean, (cur, x0))

    def refresh(self, cur: Level, nxt: Level, noise: Noise) -> Any:
        """The noise of this part of the step; None for the probability flow."""
        return None if self.deterministic else noise_of(cur, nxt, SCALERS[self.scaler]) * noise(cur, nxt)
