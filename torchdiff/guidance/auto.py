"""Autoguidance: a network guided away from a weaker one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from torchdiff.denoiser import Denoiser
from torchdiff.errors import IncompatibleError
from torchdiff.guidance.base import Wrapper, added, beside, denoiser
from torchdiff.guidance.weight import Scale, Weight
from torchdiff.sde.base import Level


@dataclass(frozen=True)
class AutoGuided(Wrapper):
    """What `autoguide` returns: bad + w (good - bad), of whatever the two predict.

    A bad output o2 = u2 x0 + w2 eps is read as one of the good network: across x + factor o2. Where w is one number
    for the batch, the outputs of both go into the plan, and what x adds is in the meaning of their sum.
    """

    inner: Any
    bad: Any
    weight: Weight

    @property
    def cores(self) -> tuple[Denoiser, ...]:
        return (*self.inner.cores, *self.bad.cores)

    def bind(self, cond: Mapping[str, Any]) -> AutoGuided:
        """The same with these conditions passed to both networks."""
        return replace(self, inner=self.inner.bind(cond), bad=self.bad.bind(cond))

    def meaning(self, level: Level) -> tuple[float, float]:
        first, second = self.inner.meaning(level)
        if self.weight.each_sample or (w := self.weight.at(level)) == 1.0:
            return first, second
        shift = (1.0 - w) * self._reading(level)[0]
        if level.scalar:
            return first - shift * level.alpha, second - shift * level.sigma
        return first + shift * second, second

    def mixes(self, levels: Sequence[Level]) -> list[tuple[float, ...]]:
        if self.weight.each_sample:
            return [(1.0,)] * len(levels)
        weights = [self.weight.at(level) for level in levels]
        return self._mixes(levels, weights, any(w != 0.0 for w in weights), any(w != 1.0 for w in weights))

    def outputs(
        self,
        blocks: Sequence[Tensor],
        level: Level,
        times: Tensor,
        levels: Sequence[Level] | None = None,
        cond: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, ...]:
        """The outputs of the good network and those of the bad one, or their sum; then what the good one tells."""
        each = levels or (level,)
        weights = self.weight.of_each(each, len(times))
        good, bad = any(w != 0.0 for w in weights), any(w != 1.0 for w in weights)
        said, told, weak = (), (), ()
        if good:
            said = self.inner.outputs(blocks, level, times, levels)
            count = len(self.inner.mixes(each)[0])
            said, told = said[:count], said[count:]
        if bad:
            weak = beside(self.bad, self.inner, blocks, level, times, levels)
            weak = weak[: len(self.bad.mixes(each)[0])]
        if not self.weight.each_sample:
            return (*said, *weak, *told)
        each = each if len(each) == len(weights) else [level] * len(weights)
        across = [(1.0 - w) * self._reading(at)[0] / self.inner.scale(at) for w, at in zip(weights, each, strict=True)]
        mixes = self._mixes(each, weights, good, bad)
        table = [(c, *mix) for c, mix in zip(across, mixes, strict=True)]
        return (added([blocks[-1], *said, *weak], table), *told)

    def _mixes(
        self, levels: Sequence[Level], weights: Sequence[float], good: bool, bad: bool
    ) -> list[tuple[float, ...]]:
        """The weights of what is asked: the good outputs, the bad ones, or both."""
        strong = self.inner.mixes(levels) if good else [()] * len(levels)
        weak = self.bad.mixes(levels) if bad else [()] * len(levels)
        found = []
        for w, level, one, other in zip(weights, levels, strong, weak, strict=True):
            factor = (1.0 - w) * self._reading(level)[1] if bad and w != 1.0 else 0.0
            found.append((*(w * m for m in one), *(factor * m for m in other)))
        return found

    def _reading(self, level: Level) -> tuple[float, float]:
        """(across, factor): a bad output o2 says what the good network would by across * last block + factor * o2."""
        (u, w), (u2, w2) = self.inner.meaning(level), self.bad.meaning(level)
        if not level.scalar:
            return (u2 - u) / w, w2 / w
        det = level.alpha * w2 - level.sigma * u2
        if det == 0.0:
            raise IncompatibleError(
                f"the weaker network predicts {self.bad.prediction!r}, which at t = {level.t:g} (alpha = "
                f"{level.alpha:g}, sigma = {level.sigma:g}) does not say what {self.inner.prediction!r} is; keep away "
                f"from there by t_max, t_min, or by an interval"
            )
        return (u * w2 - w * u2) / det, (level.alpha * w - level.sigma * u) / det


def autoguide(
    good: Any,
    bad: Any,
    scale: Scale,
    *,
    interval: tuple[float, float] | None = None,
    interval_in: str = "sigma",
) -> AutoGuided:
    """Guidance by a weaker network of the same task, D = bad + scale (good - bad): smaller, or trained for less long.

    good, bad: from torchdiff.wrap or another guidance. They may differ in prediction, time, input scale and dtype; the
               sum is that of the scores, and folded into the plan with all of it. `cond` of `sample` goes to both.
    scale:     1 is the good network alone, 0 the bad one, 2 and more push away from the bad one; a number, one a
               sample (B,), or a function Level -> float, as in `guide`.
    interval, interval_in: as in `guide`; elsewhere the good network alone is called.
    A call of both counts as one in plans and in Samples.calls.
    Raises OptionError saying what came and what was expected, IncompatibleError at planning for a level at which the
    prediction of the bad network does not say what that of the good one is.
    Source: Karras et al. 2024, arXiv:2406.02507.
    """
    good, bad = denoiser("autoguide: good", good), denoiser("autoguide: bad", bad)
    return AutoGuided(good, bad, Weight.of(scale, interval, interval_in))
