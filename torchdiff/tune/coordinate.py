"""Grids as free numbers: logarithms of steps in a coordinate, so that every vector is a grid that falls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from torchdiff.gaussian.laws import Array
from torchdiff.sde.base import LinearSDE, ScalarSDE

KNOTS = 20  # free numbers at most: beyond, the log of a step is linear between this many
LEAST = 0.02  # of the mean step: what no step falls below. Two times that all but meet are no two steps of a network


@dataclass
class Steps:
    """Numbers <-> times between two ends, which stay bit for bit.

    The coordinate is log(alpha / sigma) where it is finite at both ends, sigma / (sigma + alpha) on other one-block
    SDEs, t on block SDEs.
    """

    sde: LinearSDE
    t_max: float
    t_min: float
    count: int
    basis: Array = field(init=False)

    def __post_init__(self) -> None:
        knots = min(self.count, KNOTS)
        places, at = np.linspace(0.0, 1.0, self.count), np.linspace(0.0, 1.0, knots)
        self.basis = np.stack([np.interp(places, at, unit) for unit in np.eye(knots)], axis=1)
        ends = [self.sde.level(t) for t in (self.t_max, self.t_min)]
        self.kind = "t"
        if isinstance(self.sde, ScalarSDE):
            finite = all(math.isfinite(level.half_log_snr) for level in ends)
            self.kind = "log_snr" if finite else "flow"
        self.start, self.end = (self._at(t) for t in (self.t_max, self.t_min))

    def times(self, numbers: Array) -> tuple[float, ...]:
        logs = self.basis @ numbers
        shares = np.exp(logs - logs.max())
        shares = (1.0 - LEAST) * shares / shares.sum() + LEAST / self.count
        places = self.start + (self.end - self.start) * np.cumsum(shares)[:-1]
        return (self.t_max, *(self._time(float(place)) for place in places), self.t_min)

    def numbers(self, times: Sequence[float]) -> Array:
        """The numbers whose times come closest to these, in the logarithms of steps."""
        shares = np.diff([self._at(t) for t in times]) / (self.end - self.start)
        shares = (shares - LEAST / self.count) / (1.0 - LEAST)
        logs = np.log(np.maximum(shares, 1e-3 / self.count))
        found = np.linalg.lstsq(self.basis, logs, rcond=None)[0]
        return found - found.mean()

    def _at(self, t: float) -> float:
        if self.kind == "t":
            return t
        level = self.sde.level(t)
        return level.half_log_snr if self.kind == "log_snr" else level.sigma / (level.sigma + level.alpha)

    def _time(self, place: float) -> float:
        if not isinstance(self.sde, ScalarSDE):
            return place
        return self.sde.at(place if self.kind == "log_snr" else math.log((1.0 - place) / place)).t
