"""Fresh normals that a step on tensors reads without their being stored: their norm, and sums with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchdiff import ops
from torchdiff.blocks import pack, unpack
from torchdiff.levy import joint as joint  # noqa: PLC0414  # for steps on tensors, here as `lazy` is
from torchdiff.levy import pair
from torchdiff.sde.base import Level


@dataclass(frozen=True)
class Fresh:
    """The normals z of one draw, made on the way by the op that reads them; or given, as a tensor.

    given: (z,), or () and `draws` (1,) int64 says which. seeds, first_index: as in torchdiff.ops.affine.
    """

    given: tuple[Tensor, ...]
    seeds: Tensor
    first_index: int
    draws: Tensor

    @classmethod
    def of(cls, z: Tensor) -> Fresh:
        """A draw that is a tensor already."""
        none = torch.empty(0, dtype=torch.int64, device=z.device)
        return cls((z,), none, 0, none)

    def stored(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """z itself, (B, *event) = shape."""
        return self.given[0] if self.given else ops.normal(shape, self.seeds, self.first_index, self.draws, dtype)

    def norms(self, *tensors: Tensor) -> Tensor:
        """|t| of each of n tensors (B, *event), and |z| last: float64 (B, n + 1), one pass over memory."""
        return ops.norms([*tensors, *self.given], self.seeds, self.first_index, self.draws)

    def add(self, tensors: Sequence[Tensor], weights: Sequence[float | Tensor]) -> Tensor:
        """sum_j weights[j] * tensors[j] + weights[n] * z, one op, of tensors[0]'s dtype and layout.

        tensors: n >= 1 tensors (B, *event); weights: n + 1, each a float or float64 (B,), one a sample. Differentiable
        by both; z is a constant.
        """
        first = tensors[0]
        columns = [
            w if isinstance(w, Tensor) else torch.full(first.shape[:1], w, dtype=torch.float64, device=first.device)
            for w in weights
        ]
        table = torch.stack(columns, dim=-1).unsqueeze(1)
        arguments = (self.seeds, self.first_index, self.draws)
        if table.requires_grad:
            return WeightedSum.apply(table, *arguments, *tensors, *self.given)  # pyright: ignore[reportReturnType]
        return ops.affine([*tensors, *self.given], table, *arguments)[0]


class Draws:
    """The noise of one step on tensors: noise(start, end) is a tensor, noise.lazy(start, end) the same draw as Fresh.

    Each call is a draw of its own, whichever way. The state of an SDE of several blocks gets Blocks of them.
    path(start, end): for a run on Brownian paths, what `joint` returns, or None where its path has nothing to give.
    """

    def __init__(
        self,
        fresh: Callable[[Level, Level], Sequence[Fresh]],
        shape: Sequence[int],
        dtype: torch.dtype,
        path: Callable[[Level, Level], tuple[Any, Any] | None] = lambda start, end: None,
    ) -> None:
        self._fresh, self._shape, self._dtype, self._path = fresh, shape, dtype, path

    def __call__(self, start: Level, end: Level) -> Any:
        return pack(z.stored(self._shape, self._dtype) for z in self._fresh(start, end))

    def lazy(self, start: Level, end: Level) -> Any:
        return pack(self._fresh(start, end))

    def joint(self, start: Level, end: Level) -> tuple[Any, Any]:
        """(W, U): the increment of a Wiener process over the interval, and the integral of W - W(start) along it.

        Two draws; on a Brownian path they are the path's own.
        """
        found = self._path(start, end)
        return pair(self, start, end) if found is None else found


def lazy(noise: Callable[[Level, Level], Any]) -> Callable[[Level, Level], Any]:
    """noise.lazy, or what does the same with the tensors of a noise function that has none."""
    return getattr(noise, "lazy", None) or (lambda start, end: pack(map(Fresh.of, unpack(noise(start, end)))))


class WeightedSum(torch.autograd.Function):
    """A row of affine that is differentiable by its weights too.

    apply(weights, seeds, first_index, draws, *tensors), weights float64 (B, 1, n + Q).
    """

    @staticmethod
    def forward(ctx, weights, seeds, first_index, draws, *tensors):
        ctx.save_for_backward(weights, seeds, draws, *tensors)
        ctx.first_index = first_index
        return ops.affine(list(tensors), weights, seeds, first_index, draws)[0]

    @staticmethod
    def backward(ctx, *grads):
        """In float64 and in plain torch, so that it has a derivative itself."""
        weights, seeds, draws, *tensors = ctx.saved_tensors
        batch, *event = tensors[0].shape
        grad = grads[0].to(torch.float64)
        on_tensors = [
            (weights[:, 0, j].reshape(batch, *[1] * len(event)) * grad).to(t.dtype) if needed else None
            for j, (t, needed) in enumerate(zip(tensors, ctx.needs_input_grad[4:], strict=True))
        ]
        own = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
        z = [ops.normal((batch, *event), seeds, ctx.first_index, draws, own)] if len(draws) else []
        on_weights = torch.stack([(grad * v).reshape(batch, math.prod(event)).sum(1) for v in (*tensors, *z)], dim=-1)
        return on_weights.unsqueeze(1), None, None, None, *on_tensors
