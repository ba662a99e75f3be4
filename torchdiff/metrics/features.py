"""Distances in the features of a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torchdiff.errors import IncompatibleError
from torchdiff.metrics.base import Judge, Metric
from torchdiff.registry import METRICS

if TYPE_CHECKING:
    from torch import Tensor

    from torchdiff.targets.base import Target

EVENT = (1, 28, 28)


@METRICS.register("frechet")
@dataclass(frozen=True)
class Frechet(Metric):
    """Frechet distance, squared, in the 64 features of the shipped classifier of 28 x 28 digits.

        |mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))

    Images are (1, 28, 28) in [-1, 1]. Without data it compares with the features of the 5000 real digits that are
    shipped. Not the Inception distance (FID), nor comparable to one. Biased upwards for few samples: see the floor.
    balanced: true where the samples were asked for as equally many of each digit: the floor's are drawn so, and score
    half of what random ones do. Intervals do not know it, and are wider than need be.
    Raises IncompatibleError for data of another shape.
    Source: Dowson & Landau 1982, J. Multivariate Analysis 12, 450.
    """

    least: ClassVar[int] = 10
    resamples: ClassVar[int] = 100

    balanced: bool = False

    def prepare(self, real: Tensor, target: Target | None = None) -> Judge:
        from torchdiff.metrics.seen import FrechetJudge

        if tuple(real.shape[1:]) not in (EVENT, (64,)):
            raise IncompatibleError(
                f"metric 'frechet' is for images {EVENT}; got data of shape {tuple(real.shape[1:])}"
            )
        return FrechetJudge(self, real)

    def reference(self) -> Tensor | None:
        from torchdiff.zoo import digits

        return digits.reference()["features"].double()

    def strata(self) -> Tensor | None:
        from torchdiff.zoo import digits

        return digits.reference()["labels"] if self.balanced else None
