"""Runge-Kutta and Adams methods on the probability flow, in t, log-SNR or sigma / alpha."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torchdiff.errors import OptionError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import LinearSDE
from torchdiff.solvers.base import AffineSolver, Carry, Noise, Predict, Span
from torchdiff.solvers.exponential import check_start
from torchdiff.solvers.probability_flow import ProbabilityFlow, along, check_coordinate, missing
from torchdiff.solvers.quadrature import lagrange, legendre
from torchdiff.solvers.tableaus import TABLEAUS


@SOLVERS.register("rk")
@dataclass(frozen=True)
class RungeKutta(AffineSolver):
    """An explicit Runge-Kutta method on the probability flow, by the name of its tableau, for any number of blocks.

    tableau: euler, midpoint, heun, ralston (orders 1, 2), kutta3, heun3, ralston3, ssp3 (3), rk4, rk38 (4), butcher5,
    dopri5 (5); as many network calls a step as it has stages. coordinate: "t", or for one block "log_snr" or "sigma" =
    sigma / alpha, where x / alpha follows the network alone. Runs from data to noise too.
    Raises OptionError for an unknown tableau or coordinate; IncompatibleError for another coordinate than t with
    blocks.
    Source: Song et al. 2021, arXiv:2011.13456, eq. 13; Hairer, Norsett & Wanner 1993, sections II.1 and II.5.
    """

    tableau: str = "rk4"
    coordinate: str = "t"

    def __post_init__(self) -> None:
        if self.tableau not in TABLEAUS:
            raise OptionError(f"rk: tableau is one of {', '.join(TABLEAUS)}, got {self.tableau!r}")
        check_coordinate("rk", self.coordinate)

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return float(TABLEAUS[self.tableau].order)

    @property
    def calls(self) -> int:  # type: ignore[override]
        return len(TABLEAUS[self.tableau].rows)

    @property
    def deterministic(self) -> bool:
        return True

    def needs(self, sde: LinearSDE) -> str | None:
        return missing(self.coordinate, sde)

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        return ProbabilityFlow(self.coordinate, span.sde).single(x, span, predict, TABLEAUS[self.tableau])[0]


STARTS = {2: "midpoint", 3: "kutta3"}  # the single steps that a method of one order more may begin with


@SOLVERS.register("adams")
@dataclass(frozen=True)
class Adams(AffineSolver):
    """Adams-Bashforth of the last `order` slopes of the probability flow on the true, uneven grid, for any blocks.

    coordinate: "t", or for one block "log_snr" or "sigma" (which is lms). start: "lower" begins with fewer slopes, of
    order 2 then; "single" with Runge-Kutta steps of enough order, of 2 or 3 calls. One network call a step else.
    Raises OptionError for an order outside 1..4, another coordinate or start.
    Source: Hairer, Norsett & Wanner 1993, section III.5.
    """

    order: int = 2
    coordinate: str = "t"
    start: str = "lower"

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3, 4):
            raise OptionError(f"adams: order is from 1 to 4, got {self.order!r}")
        check_coordinate("adams", self.coordinate)
        check_start("adams", self.start)

    @property
    def memory(self) -> int:  # type: ignore[override]
        return self.order - 1

    @property
    def calls(self) -> int:  # type: ignore[override]
        return self.order - 1 if self.start == "single" and self.order > 2 else 1

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return float(self.order if self.start == "single" else min(self.order, 2))

    @property
    def deterministic(self) -> bool:
        return True

    def needs(self, sde: LinearSDE) -> str | None:
        return missing(self.coordinate, sde)

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt, flow = span.cur, span.nxt, ProbabilityFlow(self.coordinate, span.sde)
        if self.start == "single" and len(span.past) + 1 < self.order - 1:
            moved, slope = flow.single(x, span, predict, TABLEAUS[STARTS[self.order - 1]])
            return Carry(moved, (cur, slope))
        known = [(cur, flow.slope(x, cur, predict)), *span.past][: self.order]
        start, places = flow.place(cur), [flow.place(level) for level, _ in known]
        width = flow.place(nxt) - start
        shares = [  # two points are exact for the cubics of four slopes
            math.fsum(w * lagrange(places, j, start + at * width) for at, w in legendre(2)) for j in range(len(known))
        ]
        y = along(flow.inside(x, cur), width, shares, [slope for _, slope in known])
        out = flow.outside(y, nxt)
        return out if self.memory == 0 else Carry(out, known[0])
