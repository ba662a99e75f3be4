"""Classifier-free guidance: one network, with the condition and with something else in its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchdiff.denoiser import Denoiser
from torchdiff.errors import OptionError, shown
from torchdiff.guidance.base import Wrapper, added, denoiser
from torchdiff.guidance.bounds import Bounded
from torchdiff.guidance.conditions import Cond, joined, other_side, picked, rows
from torchdiff.guidance.spread import deviation
from torchdiff.guidance.weight import Scale, Weight
from torchdiff.sde.base import Level

Side = tuple[Tensor | None, Cond]  # which samples are asked, None for all, and their conditions


@dataclass(frozen=True)
class Guided(Wrapper):
    """What `guide` returns: output = null + w (cond - null).

    Where w is one number for the batch, the network has two outputs which the plan adds up with weights (w, 1 - w).
    Else, and with `rescale`, they are added up here, by one op.
    """

    inner: Any
    weight: Weight
    null: Mapping[str, Any]
    shared: tuple[str, ...] = ()
    rescale: float = 0.0
    batched: bool = True

    @property
    def folds(self) -> bool:
        """Whether the plan adds the outputs up."""
        return self.rescale == 0.0 and not self.weight.each_sample

    def mixes(self, levels: Sequence[Level]) -> list[tuple[float, ...]]:
        if not self.folds:
            return [(1.0,)] * len(levels)
        weights = [self.weight.at(level) for level in levels]
        if weights[0] in (0.0, 1.0) and all(w == weights[0] for w in weights):
            return [(1.0,)] * len(levels)
        return [(w, 1.0 - w) for w in weights]

    def outputs(
        self,
        blocks: Sequence[Tensor],
        level: Level,
        times: Tensor,
        levels: Sequence[Level] | None = None,
        cond: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, ...]:
        """(cond, null), or one of the two, or their sum; then what is told with the condition."""
        batch = len(times)
        weights = self.weight.of_each(levels or (level,), batch)
        given = self.inner.cond if cond is None else cond
        left, right = rows(given, other_side(given, self.null, self.shared), batch, self.batched)
        sides: list[Side] = []
        wants = [w != 0.0 or self.rescale != 0.0 for w in weights], [w != 1.0 for w in weights]
        for want, side in zip(wants, (left, right), strict=True):
            if any(want):
                index = None if all(want) else torch.tensor([i for i, w in enumerate(want) if w], device=times.device)
                sides.append((index, picked(side, index, batch)))
        together = [sides] if self.batched else [[side] for side in sides]
        said = [one for some in together for one in self._ask(some, blocks, level, times, levels)]
        if len(said) == 1:
            return said[0]
        (one, *told), (other, *_) = said
        return (one, other, *told) if self.folds else (self._sum(one, other, weights, blocks[0].dtype), *told)

    def _ask(
        self,
        sides: Sequence[Side],
        blocks: Sequence[Tensor],
        level: Level,
        times: Tensor,
        levels: Sequence[Level] | None,
    ) -> list[tuple[Tensor, ...]]:
        """What the network says of each side, in one call; zeros for samples that are not asked."""
        batch = len(times)
        each = [batch if index is None else len(index) for index, _ in sides]
        pick: Callable[[Tensor], Tensor] = lambda x: torch.cat([_pick(x, index) for index, _ in sides])  # noqa: E731
        if len(sides) == 1:
            ((index, cond),), pick = sides, lambda x: _pick(x, index)
        else:
            cond = joined(sides[0][1], sides[1][1], *each)
        if levels is not None:
            levels = [levels[i] for index, _ in sides for i in (range(batch) if index is None else index.tolist())]
        said = self.inner.outputs([pick(b) for b in blocks], level, pick(times), levels, cond)
        parts = zip(*(output.split(each) for output in said), strict=True)
        return [tuple(_place(x, index, batch) for x in part) for part, (index, _) in zip(parts, sides, strict=True)]

    def _sum(self, one: Tensor, other: Tensor, weights: Sequence[float], dtype: torch.dtype) -> Tensor:
        """null + w (cond - null), rescaled, in the dtype of the state."""
        one, other = one.to(dtype), other.to(dtype)
        guided = added([one, other], [(w, 1.0 - w) for w in weights])
        if self.rescale == 0.0:
            return guided
        wide, narrow = deviation(guided), deviation(one)
        still = wide == 0.0  # a guided output of equal numbers has nothing to rescale
        ratio = narrow.masked_fill(still, 1.0) / wide.masked_fill(still, 1.0)
        factor = 1.0 + self.rescale * (ratio - 1.0)
        return guided * factor.to(dtype).view(-1, *[1] * (guided.dim() - 1))


def _pick(x: Tensor, index: Tensor | None) -> Tensor:
    return x if index is None else x.index_select(0, index)


def _place(x: Tensor, index: Tensor | None, batch: int) -> Tensor:
    return x if index is None else x.new_zeros((batch, *x.shape[1:])).index_copy(0, index, x)


def guide(
    inner: Any,
    scale: Scale,
    *,
    null: Mapping[str, Any] | None = None,
    negative: Mapping[str, Any] | None = None,
    shared: Sequence[str] = (),
    interval: tuple[float, float] | None = None,
    interval_in: str = "sigma",
    rescale: float = 0.0,
    batched: bool = True,
) -> Guided:
    """Classifier-free guidance: output = null + scale (cond - null), with `cond` of `sample` and this in its place.

        net = torchdiff.guide(torchdiff.wrap(unet, "v"), 3.0, null={"label": 10})
        torchdiff.sample(net, "vp", "dpmpp_2m", calls=20, shape=(8, 1, 28, 28), cond={"label": torch.arange(8)})

    inner:    from torchdiff.wrap, or clip or threshold of one, whose bounds then hold before the sum.
    scale:    1 is the conditional network and 0 the other, in one call of B rows; 2 and more push away from the other.
              (Ho & Salimans's w is scale - 1.) A number is folded into the weights of the plan. One number a sample
              (B,) costs an op more a call; a function Level -> float is read once a call, at planning.
    null:     the conditions that mean none, {"label": 10}: numbers, or tensors of one row or a row a sample.
    negative: the same, for what the samples should not be: one of the two.
    shared:   names of conditions that both sides get. Every condition must be in null (or negative) or here.
    interval: (low, high) of sigma / alpha, or of t with interval_in="t": guided where low < . <= high; elsewhere the
              network is called with the condition alone, B rows.
    rescale:  phi in [0, 1]: in each sample the guided output is scaled towards the standard deviation of the
              conditional one, by 1 - phi + phi std(cond) / std(guided). Not affine: it costs passes over the outputs.
    batched:  True makes one call of 2 B rows; False two calls of B, for less memory, or sides of two shapes.
    A call counts as one in plans and in Samples.calls.
    Raises OptionError saying what came and what was expected: here, or at the first call for what depends on the batch
    and on `cond`.
    Source: Ho & Salimans 2022, arXiv:2207.12598, eq. 6; interval: Kynkaanniemi et al. 2024, arXiv:2404.07724; rescale:
    Lin et al. 2023, arXiv:2305.08891, section 3.4 and algorithm 2.
    """
    core = denoiser("guide: the first argument", inner)
    while isinstance(core, Bounded):
        core = core.inner
    if not isinstance(core, Denoiser):
        raise OptionError(
            f"guide asks the network itself with other conditions, and {type(core).__name__} stands between; guide the "
            f"wrapped network, and put the rest around that"
        )
    sides = [side for side in (null, negative) if side is not None]
    if len(sides) != 1 or not isinstance(sides[0], Mapping) or not sides[0]:
        raise OptionError(
            f"give one of null and negative, what the network gets in the place of the condition, "
            f"{{'label': 10}} say; got null = {shown(null)}, negative = {shown(negative)}"
        )
    if isinstance(shared, str) or not all(isinstance(name, str) and name not in sides[0] for name in shared):
        raise OptionError(f"shared are names of conditions that are not in null or negative, got {shown(shared)}")
    if not isinstance(rescale, int | float) or not 0.0 <= rescale <= 1.0 or math.isnan(rescale):
        raise OptionError(f"rescale is a number in [0, 1], got {shown(rescale)}")
    weight = Weight.of(scale, interval, interval_in)
    return Guided(inner, weight, dict(sides[0]), tuple(shared), float(rescale), bool(batched))
