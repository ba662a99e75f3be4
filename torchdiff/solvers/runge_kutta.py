"""Runge-Kutta and Adams methods on the probability flow, in t, log-SNR or sigma / alpha."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import Level, LinearSDE, ScalarSDE
from torchdiff.solvers.base import AffineSolver, Carry, Noise, Predict, Span
from torchdiff.solvers.exponential import check_start
from torchdiff.solvers.quadrature import lagrange, legendre
from torchdiff.solvers.tableaus import TABLEAUS, Tableau

COORDINATES = ("t", "log_snr", "sigma")


class Flow:
    """The probability flow dy/dc = slope in a coordinate c: y = x in "t", y = x / alpha in "log_snr" and "sigma"."""

    def __init__(self, coordinate: str, sde: LinearSDE) -> None:
        if coordinate != "t" and not isinstance(sde, ScalarSDE):
            raise IncompatibleError(
                f"coordinate {coordinate!r} needs one alpha and one sigma, got {sde!r} with {sde.blocks} blocks; use 't'"
            )
        self.coordinate, self.sde = coordinate, sde

    def place(self, level: Level) -> float:
        """c at a level: t, log(alpha / sigma) or sigma / alpha."""
        if self.coordinate == "t":
            return level.t
        return level.half_log_snr if self.coordinate == "log_snr" else level.sigma / level.alpha

    def level(self, place: float) -> Level:
        if self.coordinate == "t":
            return self.sde.level(place)
        assert isinstance(self.sde, ScalarSDE)
        return self.sde.at(place if self.coordinate == "log_snr" else -math.log(place))

    def inside(self, x: Any, level: Level) -> Any:
        """y from x."""
        return x if self.coordinate == "t" else x * (1.0 / level.alpha)

    def outside(self, y: Any, level: Level) -> Any:
        """x from y."""
        return y if self.coordinate == "t" else y * level.alpha

    def slope(self, x: Any, level: Level, predict: Predict) -> Any:
        """dy/dc: the velocity, -sigma / alpha eps or eps."""
        model = predict(x, level)
        if self.coordinate == "t":
            return model.velocity
        return model.eps * (-level.sigma / level.alpha) if self.coordinate == "log_snr" else model.eps

    def single(self, x: Any, span: Span, predict: Predict, tableau: Tableau) -> tuple[Any, Any]:
        """(x at nxt, the slope at cur) by a Runge-Kutta step."""
        cur, nxt = span.cur, span.nxt
        start = self.place(cur)
        width = self.place(nxt) - start
        y, slopes = self.inside(x, cur), []
        for node, row in zip(tableau.nodes, tableau.rows, strict=True):
            level = cur if node == 0 else nxt if node == 1 else self.level(start + float(node) * width)
            point = self.outside(_along(y, width, row, slopes), level) if row else x
            slopes.append(self.slope(point, level, predict))
        return self.outside(_along(y, width, tableau.weights, slopes), nxt), slopes[0]


def _along(y: Any, width: float, weights: Sequence[Any], slopes: Sequence[Any]) -> Any:
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            y = y + slope * (width * float(weight))
    return y


def _check_coordinate(name: str, coordinate: str) -> None:
    if coordinate not in COORDINATES:
        raise OptionError(f"{name}: coordinate is one of {', '.join(COORDINATES)}, got {coordinate!r}")


@SOLVERS.register("rk")
@dataclass(frozen=True)
class RungeKutta(AffineSolver):
    """An explicit Runge-Kutta method on the probability flow, by the name of its tableau, for any number of blocks.

    tableau: euler, midpoint, heun, ralston (orders 1, 2), kutta3, heun3, ralston3, ssp3 (3), rk4, rk38 (4), butcher5, dopri5 (5);
    as many network calls a step as it has stages. coordinate: "t", or for one block "log_snr" or "sigma" = sigma / alpha,
    where y = x / alpha follows the network alone. Runs from data to noise too.
    Raises OptionError for an unknown tableau or coordinate; IncompatibleError for another coordinate than t with blocks.
    Source: Song et al. 2021, arXiv:2011.13456, eq. 13; Hairer, Norsett & Wanner 1993, sections II.1 and II.5.
    """

    tableau: str = "rk4"
    coordinate: str = "t"

    def __post_init__(self) -> None:
        if self.tableau not in TABLEAUS:
            raise OptionError(f"rk: tableau is one of {', '.join(TABLEAUS)}, got {self.tableau!r}")
        _check_coordinate("rk", self.coordinate)

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return float(TABLEAUS[self.tableau].order)

    @property
    def calls(self) -> int:  # type: ignore[override]
        return len(TABLEAUS[self.tableau].rows)

    @property
    def deterministic(self) -> bool:
        return True

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        return Flow(self.coordinate, span.sde).single(x, span, predict, TABLEAUS[self.tableau])[0]


STARTS = {2: "midpoint", 3: "kutta3"}  # the single steps that a method of one order more may begin with


@SOLVERS.register("adams")
@dataclass(frozen=True)
class Adams(AffineSolver):
    """Adams-Bashforth of the last `order` slopes of the probability flow on the true, uneven grid, for any number of blocks.

    coordinate: "t", or for one block "log_snr" or "sigma" (which is lms). start: "lower" begins with fewer slopes, of order 2
    then; "single" with Runge-Kutta steps of enough order. One network call a step.
    Raises OptionError for an order outside 1..4, another coordinate or start.
    Source: Hairer, Norsett & Wanner 1993, section III.5.
    """

    order: int = 2
    coordinate: str = "t"
    start: str = "lower"
    memory: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3, 4):
            raise OptionError(f"adams: order is from 1 to 4, got {self.order!r}")
        _check_coordinate("adams", self.coordinate)
        check_start("adams", self.start)

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return float(self.order if self.start == "single" else min(self.order, 2))

    @property
    def deterministic(self) -> bool:
        return True

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt, flow = span.cur, span.nxt, Flow(self.coordinate, span.sde)
        if self.start == "single" and len(span.past) + 1 < self.order - 1:
            moved, slope = flow.single(x, span, predict, TABLEAUS[STARTS[self.order - 1]])
            return Carry(moved, (cur, slope))
        known = [(cur, flow.slope(x, cur, predict)), *span.past][: self.order]
        start, places = flow.place(cur), [flow.place(level) for level, _ in known]
        width = flow.place(nxt) - start
        shares = [  # two points are exact for the cubics of four slopes
            math.fsum(w * lagrange(places, j, start + at * width) for at, w in legendre(2)) for j in range(len(known))
        ]
        y = _along(flow.inside(x, cur), width, shares, [slope for _, slope in known])
        return Carry(flow.outside(y, nxt), known[0])
