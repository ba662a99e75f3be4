"""Guidance by the gradient of a classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from torchdiff.denoiser import Denoiser
from torchdiff.errors import OptionError, shown
from torchdiff.guidance.base import Wrapper, beside, column, denoiser
from torchdiff.guidance.weight import Scale, Weight
from torchdiff.sde.base import Level


@dataclass(frozen=True)
class ClassifierGuided(Wrapper):
    """What `classifier_guide` returns: score + w grad log p(y | x_t).

    The gradient is one more output; its weight in the plan turns it into what the network predicts.
    """

    inner: Any
    classifier: Denoiser  # of log p(y | x), whose gradient is the output
    weight: Weight

    def mixes(self, levels: Sequence[Level]) -> list[tuple[float, ...]]:
        inner, extra = self.inner.mixes(levels), self._extra(levels)
        return [(*mix, weight) for mix, weight in zip(inner, extra, strict=True)] if any(extra) else inner

    def outputs(
        self,
        blocks: Sequence[Tensor],
        level: Level,
        times: Tensor,
        levels: Sequence[Level] | None = None,
        cond: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, ...]:
        """The outputs of the network, the gradient by what the classifier is given, and what the network tells."""
        each = levels or (level,)
        weights = self.weight.of_each(each, len(times)) if self.weight.each_sample else None
        said = self.inner.outputs(blocks, level, times, levels)
        if not any(self._extra(each)):
            return said
        (gradient,) = beside(self.classifier, self.inner, blocks, level, times, levels)
        if weights is not None:
            gradient = gradient * column(weights, gradient)
        count = len(self.inner.mixes(each)[0])
        return (*said[:count], gradient, *said[count:])

    def _extra(self, levels: Sequence[Level]) -> list[float]:
        """The weight of the gradient at each level; where each sample has its own scale, without that."""
        return [self._strength(level) * self._factor(level) for level in levels]

    def _strength(self, level: Level) -> float:
        return float(self.weight.counts(level)) if self.weight.each_sample else self.weight.at(level)

    def _factor(self, level: Level) -> float:
        """What a unit of score adds to the output, times the chain rule's factor of the classifier's input scale.

        x stays, so d eps = -sigma and d x0 = sigma^2 / alpha: u d x0 + w d eps = -(sigma / alpha) (alpha w - sigma u).
        """
        u, w = self.inner.meaning(level)
        if not level.scalar:
            return self.classifier.scale(level) / w
        if level.alpha == 0.0:  # x is noise and tells nothing of y: the gradient is 0
            return 0.0
        return -level.sigma * ((level.alpha * w - level.sigma * u) / level.alpha) * self.classifier.scale(level)


def classifier_guide(
    inner: Any,
    log_prob: Callable[..., Tensor],
    scale: Scale = 1.0,
    *,
    cond: Mapping[str, Any] | None = None,
    time: str | float | Callable[[Level], float] | None = None,
    input_scale: str | Callable[[Level], float] | None = None,
    joined: bool = False,
    dtype: Any = None,
    interval: tuple[float, float] | None = None,
    interval_in: str = "sigma",
) -> ClassifierGuided:
    """Guidance by a classifier of noisy data: score + scale grad log p(y | x_t), the gradient by autograd.

    inner:    from torchdiff.wrap or another guidance, of any prediction; for an n-block SDE the gradient is by the last
              block.
    log_prob: log p(y | x), called log_prob(x, t, **cond), for n blocks log_prob(x, v, ..., t, **cond); returns (B,) or
              (B, 1). A classifier of clean data does not know noise: it must have been trained on x_t.
    scale:    0 is the network alone, which then is all that is called; 1 is Bayes' rule. A number, one a sample (B,),
              or a function Level -> float.
    cond:     the classifier's own conditions, {"label": labels}; `cond` of `sample` goes to the network.
    time, input_scale, joined, dtype: how the classifier is called, as in torchdiff.wrap; by default with t and with x.
    interval, interval_in: as in `guide`; elsewhere the network alone is called. At alpha = 0 it is too, for there x
              tells nothing of y.
    Raises OptionError saying what came and what was expected, NetworkError for a log_prob of another shape.
    Source: Dhariwal & Nichol 2021, arXiv:2105.05233, section 4 and algorithm 2.
    """
    from torchdiff.wrapping import wrap

    denoiser("classifier_guide: the first argument", inner)
    if not callable(log_prob) or hasattr(log_prob, "meaning"):
        raise OptionError(f"log_prob is a function of x and t that returns log p(y | x), got {shown(log_prob)}")
    classifier = wrap(log_prob, "energy", time, input_scale, joined=joined, dtype=dtype).bind(cond or {})
    return ClassifierGuided(inner, classifier, Weight.of(scale, interval, interval_in, idle=0.0))
