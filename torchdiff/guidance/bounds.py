"""Bounds on the predicted data: clipping, and the dynamic threshold."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from torchdiff.errors import IncompatibleError, OptionError, shown
from torchdiff.guidance.base import Wrapper, added, column, denoiser, scaled
from torchdiff.guidance.spread import flat, quantile
from torchdiff.sde.base import Level


@dataclass(frozen=True)
class Bounded(Wrapper):
    """A denoiser whose x0 is kept within bounds; eps, score and velocity follow from x and that x0.

    Its output is x0. Not at sigma = 0, where x is the data and nobody predicts it: there it is what the network says.
    """

    inner: Any

    @abstractmethod
    def bounded(self, x0: Tensor) -> Tensor:
        """x0 within bounds, sample by sample."""

    def meaning(self, level: Level) -> tuple[float, float]:
        if not level.scalar:
            raise IncompatibleError(
                f"{type(self).__name__} acts on a predicted x0, which an SDE of {len(level.alpha)} blocks has not; "
                f"bound the samples instead"
            )
        if level.sigma == 0.0:
            return self.inner.meaning(level)
        self._row(level, (1.0,))
        return 1.0, 0.0

    def scale(self, level: Level) -> float:
        """1: x itself is needed beside the network's outputs, and the network's input is scaled here."""
        return 1.0

    def mixes(self, levels: Sequence[Level]) -> list[tuple[float, ...]]:
        return [(1.0,)] * len(levels)

    def outputs(
        self,
        blocks: Sequence[Tensor],
        level: Level,
        times: Tensor,
        levels: Sequence[Level] | None = None,
        cond: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, ...]:
        """(bounded x0,), then what the network tells."""
        each, (x,) = levels or (level,), blocks
        said = self.inner.outputs(scaled(blocks, [self.inner.scale(at) for at in each]), level, times, levels, cond)
        mixes = self.inner.mixes(each)
        count = len(mixes[0])
        read = added([x, *said[:count]], [self._row(at, mix) for at, mix in zip(each, mixes, strict=True)])
        told, clean = said[count:], [at.sigma == 0.0 for at in each]
        if not any(clean):
            return (self.bounded(read), *told)
        return (self.bounded(read).where(column([not c for c in clean], read).bool(), read), *told)

    def _row(self, level: Level, mix: Sequence[float]) -> tuple[float, ...]:
        """x0 as a sum of x and the outputs of the network; at sigma = 0 the outputs' own sum."""
        if level.sigma == 0.0:
            return 0.0, *mix
        u, w = self.inner.meaning(level)
        det = level.alpha * w - level.sigma * u
        if det == 0.0:
            raise IncompatibleError(
                f"this network does not say what x0 is at t = {level.t:g} (alpha = {level.alpha:g}, sigma = "
                f"{level.sigma:g}); start where alpha > 0 (t_max), or use a v or flow network"
            )
        return w / det, *(-level.sigma / det * m for m in mix)


@dataclass(frozen=True)
class Clipped(Bounded):
    """What `clip` returns."""

    low: float
    high: float

    def bounded(self, x0: Tensor) -> Tensor:
        return x0.clamp(self.low, self.high)


@dataclass(frozen=True)
class Thresholded(Bounded):
    """What `threshold` returns."""

    level: float
    bound: float

    def bounded(self, x0: Tensor) -> Tensor:
        if x0.numel() == 0:
            return x0
        size = quantile(flat(x0).abs(), self.level).clamp(min=self.bound)
        size = size.view(-1, *[1] * (x0.dim() - 1))
        return x0.clamp(-size, size) / size * self.bound


def clip(inner: Any, low: float = -1.0, high: float = 1.0) -> Clipped:
    """The denoiser with its x0 clipped to [low, high]; eps, score and velocity follow from x and that x0.

    inner: from torchdiff.wrap, or a guidance, whose sum is then clipped. One-block SDEs; for a latent model low and
    high are of latents. Costs two passes over the outputs. Sampling to the data (`final="denoise"`) ends within the
    bounds.
    Raises OptionError unless low < high; IncompatibleError where the network does not tell x0.
    Source: Ho et al. 2020, arXiv:2006.11239, whose code clips; it is `clip_sample` of diffusers.
    """
    numbers = all(isinstance(bound, int | float) for bound in (low, high))
    if not numbers or not low < high:
        raise OptionError(f"clip is to [low, high] with low < high, got {shown(low)}, {shown(high)}")
    return Clipped(denoiser("clip: the first argument", inner), float(low), float(high))


def threshold(inner: Any, quantile: float = 0.995, bound: float = 1.0) -> Thresholded:
    """The denoiser with dynamic thresholding of its x0: x0 <- bound clip(x0, -s, s) / s.

    s is the quantile of |x0| in each sample, at least `bound`, the largest |x0| of the data. Otherwise as `clip`: a
    sample whose quantile is within the bound is clipped. For pixels; latents have no such bound.
    Raises OptionError for a quantile outside (0, 1] and a bound that is not positive.
    Source: Saharia et al. 2022 (Imagen), arXiv:2205.11487, section 2.3.
    """
    if not isinstance(quantile, int | float) or not 0.0 < quantile <= 1.0:
        raise OptionError(f"threshold: the quantile is a number in (0, 1], got {shown(quantile)}")
    if not isinstance(bound, int | float) or not 0.0 < bound < math.inf:
        raise OptionError(f"threshold: the bound is a positive number, got {shown(bound)}")
    return Thresholded(denoiser("threshold: the first argument", inner), float(quantile), float(bound))
