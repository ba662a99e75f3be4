"""Distances of one coordinate at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchdiff.metrics.base import Judge, Metric
from torchdiff.registry import METRICS

if TYPE_CHECKING:
    from torch import Tensor

    from torchdiff.targets.base import Target


@METRICS.register("ks")
@dataclass(frozen=True)
class KS(Metric):
    """Kolmogorov-Smirnov distance, the largest over the coordinates.

        max over coordinates k of sup_c |P(sample_k <= c) - P(data_k <= c)|

    Between 0 and 1; blind to how coordinates depend on each other. The floor falls as n^(-1/2).
    """

    def prepare(self, real: Tensor, target: Target | None = None) -> Judge:
        from torchdiff.metrics.lines import KSJudge

        return KSJudge(self, real)
