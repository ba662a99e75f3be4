"""Distances by sorting samples into classes: modes of a mixture, real or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.metrics.base import Judge, Metric
from torchdiff.registry import METRICS

if TYPE_CHECKING:
    from torch import Tensor

    from torchdiff.targets.base import Target


@METRICS.register("modes")
@dataclass(frozen=True)
class Modes(Metric):
    """Total variation between the weights of a mixture's modes and how many samples lie in each.

        sum_k |samples in mode k / n - weight_k| / 2

    A sample lies in the mode that it most probably came from. The judge's `counts(x)` are the samples in each mode,
    `dropped(x)` the modes that have fewer than a tenth of their share.
    Raises IncompatibleError for data that is no mixture with modes.
    """

    least: ClassVar[int] = 1

    def prepare(self, real: Tensor, target: Target | None = None) -> Judge:
        from torchdiff.metrics.sorting import ModesJudge

        if not getattr(target, "modal", False):
            raise IncompatibleError(
                f"metric 'modes' needs a mixture: gmm2d, gmm or torchdiff.targets.Mixture; got {target or 'data'!r}"
            )
        assert target is not None
        return ModesJudge(self, target)


@METRICS.register("c2st")
@dataclass(frozen=True)
class C2ST(Metric):
    """Classifier two-sample test: how much better than by chance a classifier tells samples from data.

        accuracy on held-out points - 1/2: 0 on average for perfect samples, so also below 0; 1/2 at most

    The classifier is a ridge regression of +-1 on `features` random Fourier features of the standardised data (an
    image's 64 features of the shipped classifier), bandwidth the median distance, cross-validated in 5 folds. No
    randomness: features and folds are the same for all.
    Raises OptionError for fewer than one feature.
    Source: Lopez-Paz & Oquab 2017, arXiv:1610.06545; Rahimi & Recht 2007, algorithm 1.
    """

    least: ClassVar[int] = 10
    equal: ClassVar[bool] = True
    swaps: ClassVar[int] = 99
    resamples: ClassVar[int] = 50

    features: int = 64

    def __post_init__(self) -> None:
        if self.features < 1:
            raise OptionError(f"c2st needs one feature or more, got {self.features}")

    def prepare(self, real: Tensor, target: Target | None = None) -> Judge:
        from torchdiff.metrics.sorting import C2STJudge

        return C2STJudge(self, real)
