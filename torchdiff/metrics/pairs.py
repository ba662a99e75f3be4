"""Distances made of all pairs of points: energy distance and maximum mean discrepancy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torchdiff.errors import OptionError
from torchdiff.metrics.base import Judge, Metric
from torchdiff.registry import METRICS

if TYPE_CHECKING:
    from torch import Tensor

    from torchdiff.targets.base import Target


@METRICS.register("energy")
@dataclass(frozen=True)
class Energy(Metric):
    """Energy distance, squared, in units of the data.

        2 E|X - Y| - E|X - X'| - E|Y - Y'|,   means over all pairs of the sets, a point with itself among them

    Never negative, and 0 for equal sets only; the floor falls as 1 / n.
    Source: Szekely & Rizzo 2013, J. Stat. Plan. Inference 143, 1249, eq. 6.1.
    """

    most: ClassVar[int] = 10_000
    rows: ClassVar[int] = 2000  # all pairs of them are looked at, 40 times for a floor of data

    def prepare(self, real: Tensor, target: Target | None = None) -> Judge:
        from torchdiff.metrics.tables import PairJudge

        return PairJudge(self, real, lambda distance: distance.neg_(), unbiased=False)


@METRICS.register("mmd")
@dataclass(frozen=True)
class MMD(Metric):
    """Maximum mean discrepancy, squared, unbiased: 0 on average for perfect samples, so also below 0.

        E k(X, X') + E k(Y, Y') - 2 E k(X, Y),   k(a, b) = exp(-|a - b|^2 / 2 h^2),   X' and Y' other points than X, Y

    bandwidth: h; None is the median distance of two of the real points (of the first 1000).
    Raises OptionError for a bandwidth that is not positive, and data of which half coincide.
    Source: Gretton et al. 2012, JMLR 13, 723, eq. 3.
    """

    most: ClassVar[int] = 10_000
    rows: ClassVar[int] = 2000  # all pairs of them are looked at, 40 times for a floor of data

    bandwidth: float | None = None

    def __post_init__(self) -> None:
        if self.bandwidth is not None and not 0.0 < self.bandwidth < math.inf:
            raise OptionError(f"mmd: bandwidth is a positive number or none, got {self.bandwidth!r}")

    def prepare(self, real: Tensor, target: Target | None = None) -> Judge:
        from torchdiff.metrics.tables import PairJudge, median_distance

        h = self.bandwidth or median_distance(real)
        return PairJudge(self, real, lambda distance: distance.square_().mul_(-0.5 / h**2).exp_(), unbiased=True)
