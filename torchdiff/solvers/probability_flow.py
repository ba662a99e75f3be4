"""The probability flow as an ODE in t, log-SNR or sigma / alpha, and Runge-Kutta steps on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torchdiff.errors import OptionError
from torchdiff.sde.base import Level, LinearSDE, ScalarSDE
from torchdiff.solvers.base import Predict, Span
from torchdiff.solvers.tableaus import Tableau

COORDINATES = ("t", "log_snr", "sigma")


class ProbabilityFlow:
    """The probability flow dy/dc = slope in a coordinate c: y = x in "t" and "log_snr", y = x / alpha in "sigma"."""

    def __init__(self, coordinate: str, sde: LinearSDE) -> None:
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
        return x * (1.0 / level.alpha) if self.coordinate == "sigma" else x

    def outside(self, y: Any, level: Level) -> Any:
        """x from y."""
        return y * level.alpha if self.coordinate == "sigma" else y

    def slope(self, x: Any, level: Level, predict: Predict) -> Any:
        """dy/dc: the velocity, the velocity times dt/dc, or eps."""
        model = predict(x, level)
        if self.coordinate == "sigma":
            return model.eps
        if self.coordinate == "t":
            return model.velocity
        assert isinstance(self.sde, ScalarSDE)
        alpha, sigma = self.sde.rates(level.t)
        # not velocity / (alpha' / alpha - sigma' / sigma): both rates of a process may be infinite where one is
        return model.velocity * (1.0 / (alpha / level.alpha - sigma / level.sigma))

    def single(self, x: Any, span: Span, predict: Predict, tableau: Tableau) -> tuple[Any, Any]:
        """(x at nxt, the slope at cur) by a Runge-Kutta step."""
        cur, nxt = span.cur, span.nxt
        start = self.place(cur)
        width = self.place(nxt) - start
        y, slopes = self.inside(x, cur), []
        for node, row in zip(tableau.nodes, tableau.rows, strict=True):
            level = cur if node == 0 else nxt if node == 1 else self.level(start + float(node) * width)
            point = self.outside(along(y, width, row, slopes), level) if row else x
            slopes.append(self.slope(point, level, predict))
        return self.outside(along(y, width, tableau.weights, slopes), nxt), slopes[0]


def along(y: Any, width: float, weights: Sequence[Any], slopes: Sequence[Any]) -> Any:
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            y = y + slope * (width * float(weight))
    return y


def check_coordinate(name: str, coordinate: str) -> None:
    if coordinate not in COORDINATES:
        raise OptionError(f"{name}: coordinate is one of {', '.join(COORDINATES)}, got {coordinate!r}")


def missing(coordinate: str, sde: LinearSDE) -> str | None:
    """What a method in this coordinate needs beside what the SDE has."""
    if coordinate == "t" or isinstance(sde, ScalarSDE):
        return None
    return f"one alpha and one sigma for its coordinate {coordinate!r}, or coordinate=t"
