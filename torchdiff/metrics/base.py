"""What a metric is: a number for a set of samples, smaller is better. No torch here: `torchdiff list` reads this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from torchdiff.errors import NonFiniteError, OptionError

if TYPE_CHECKING:
    from torch import Tensor

    from torchdiff.targets.base import Target


class Metric(ABC):
    """A distance of samples from a law of data; register it by @METRICS.register("name"), a frozen dataclass.

    least, most: numbers of samples that it takes. equal: whether it needs as many real rows as samples.
    rows: real rows that samples are compared with, where there are so many and the samples are not more.
    swaps, resamples: how often a comparison exchanges pairs, an interval draws anew.
    """

    least: ClassVar[int] = 2
    most: ClassVar[int] = 1_000_000
    equal: ClassVar[bool] = False
    rows: ClassVar[int] = 5000
    swaps: ClassVar[int] = 199
    resamples: ClassVar[int] = 200

    @abstractmethod
    def prepare(self, real: Tensor, target: Target | None = None) -> Judge:
        """A judge that holds all that can be computed once of the real rows (M, *event), float64.

        target: their law, where it is known. Raises IncompatibleError for data that this metric cannot judge.
        """

    def reference(self) -> Tensor | None:
        """What it compares with where no data is given, as the judge sees it (M, ...); None if it needs data."""
        return None

    def strata(self) -> Tensor | None:
        """The class (M,) of each row of `reference`, where a floor should draw equally many of each; else None."""
        return None


class Judge(ABC):
    """Scores samples (B, *event) against the real rows of its metric."""

    event: tuple[int, ...]
    metric: Metric

    @abstractmethod
    def see(self, x: Tensor) -> Any:
        """What is computed once of samples (B, *event), checked and float64: `scores` gets it as it is."""

    @abstractmethod
    def scores(self, seen: Any, counts: Tensor) -> Tensor:
        """(R,) float64: the metric of each of R sets, in which row i stands counts[r, i] times; counts (R, B) int64.

        Each row of counts has the same sum, the size of the sets.
        """

    def __call__(self, x: Tensor) -> float:
        """The metric of x (B, *event).

        Raises OptionError for another shape and too few or too many samples, NonFiniteError for nan and infinity.
        """
        import torch

        x = self.checked(x)
        return float(self.scores(self.see(x), torch.ones(1, len(x), dtype=torch.int64))[0])

    def checked(self, x: Tensor) -> Tensor:
        """x as float64 on the CPU, detached."""
        return checked(x, self.event, type(self.metric).least, type(self.metric).most)


def checked(x: Any, event: tuple[int, ...] | None, least: int, most: int) -> Tensor:
    """A set of samples or data, float64 on the CPU. Raises OptionError or NonFiniteError saying what came."""
    import torch

    if not isinstance(x, torch.Tensor) or x.dim() < 2 or (event is not None and tuple(x.shape[1:]) != event):
        wanted = "(B, *event)" if event is None else f"(B, {', '.join(map(str, event))})"
        came = tuple(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
        raise OptionError(f"expected a tensor of samples {wanted}, got {came}")
    if not least <= len(x) <= most:
        raise OptionError(f"this metric takes {least} to {most} samples, got {len(x)}")
    x = x.detach().to("cpu", torch.float64)
    finite = x.reshape(len(x), -1).isfinite().all(1)
    if not bool(finite.all()):
        wrong = (~finite).nonzero()[:, 0]
        raise NonFiniteError(
            f"{len(wrong)} of {len(x)} samples have nan or infinity, the first is sample {int(wrong[0])}; a distance "
            "has no value for them: mend the run, or leave them out and say so"
        )
    return x
