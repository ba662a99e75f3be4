"""torchdiff::brownian in plain torch: a Brownian path on a dyadic tree, walked down from the root for each time.

A cell of length h has the increment w ~ N(0, h) and the space-time Levy area H ~ N(0, h / 12), independent: the
integral of W - W(start) over it is h (w / 2 + H). Its halves are, with Z ~ N(0, h / 16) and N ~ N(0, h / 48),

    w / 2 +- (3 H / 2 + Z),   H / 4 - Z / 2 +- N          (upper signs: first half)

csrc/brownian.h says the same, operation for operation.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from torchdiff.counters import DEPTH, TICKS, node_number
from torchdiff.ticks import depth_of, shared, ticks_of

from .arguments import check_brownian
from .reference import normals


class Cell(NamedTuple):
    """A cell, (B, n) float64 each: W and its integral / horizon at its start, then its increment and Levy area."""

    start: Tensor
    total: Tensor
    w: Tensor
    h: Tensor


class _Path:
    """The nodes of one call's path."""

    def __init__(self, batch: int, count: int, seeds: Tensor, first_index: int, path: int, horizon: float, dtype):
        self.size, self.seeds, self.first_index, self.path = (batch, count), seeds, first_index, path
        self.horizon = horizon
        self.dtype = torch.float64 if dtype == torch.float64 else torch.float32

    def normal(self, node: int, which: int, spread: float) -> Tensor:
        draw = torch.full((), node_number(self.path, node, which), dtype=torch.int64, device=self.seeds.device)
        z = normals(*self.size, self.seeds, self.first_index, draw, self.dtype)
        return math.sqrt(spread) * z.to(torch.float64)

    def root(self) -> Cell:
        w, h = self.normal(0, 0, self.horizon), self.normal(0, 1, self.horizon / 12.0)
        return Cell(torch.zeros_like(w), torch.zeros_like(w), w, h)

    def half(self, cell: Cell, level: int, tick: int) -> Cell:
        """The half of a cell at this level that the walk to `tick` enters."""
        length = self.horizon * 0.5**level
        node = (1 << level) + (tick >> (DEPTH - level))
        z, n = self.normal(node, 0, length / 16.0), self.normal(node, 1, length / 48.0)
        middle, tilt = 1.5 * cell.h + z, 0.25 * cell.h - 0.5 * z
        first = cell._replace(w=0.5 * cell.w + middle, h=tilt + n)
        if not tick >> (DEPTH - 1 - level) & 1:
            return first
        return Cell(*_beyond(first, 0.5 ** (level + 1)), 0.5 * cell.w - middle, tilt - n)


def _beyond(cell: Cell, length: float) -> tuple[Tensor, Tensor]:
    """W and its integral / horizon at the end of a cell."""
    return cell.start + cell.w, cell.total + length * (cell.start + (0.5 * cell.w + cell.h))


def _between(s: tuple[Tensor, Tensor], t: tuple[Tensor, Tensor], length: float) -> Tensor:
    """The integral of W - W(s) over [s, t] / horizon: total(t) - total(s) - length W(s), which nearly cancel.

    So the difference is carried with its error (Knuth), and the product as two exact ones (Veltkamp).
    """
    difference = t[1] - s[1]
    taken = t[1] - difference
    error = (taken - s[1]) + (t[1] - (difference + taken))
    scaled = s[0] * 134217729.0
    high = scaled - (scaled - s[0])
    low = s[0] - high
    return (difference - length * high) + (error - length * low)


def brownian(
    shape: list[int],
    seeds: Tensor,
    first_index: int,
    path: int,
    times: Tensor,
    horizon: float,
    integral: bool,
    dtype: torch.dtype,
) -> list[Tensor]:
    """torchdiff::brownian in plain torch; arguments as in torchdiff.ops.brownian."""
    check_brownian(shape, seeds, first_index, path, times, horizon, dtype)
    ticks = ticks_of(times.tolist(), horizon)
    tree = _Path(shape[0], math.prod(shape[1:]), seeds, first_index, path, horizon, dtype)
    stack, points = [tree.root()], []
    outputs = [torch.empty((len(ticks) - 1, *shape), dtype=dtype, device=seeds.device) for _ in range(1 + integral)]
    for k, tick in enumerate(ticks):
        del stack[1 + (shared(ticks[k - 1], tick) if k > 0 else 0) :]
        for level in range(len(stack) - 1, depth_of(tick)):
            stack.append(tree.half(stack[-1], level, tick))
        cell = stack[-1]
        points = [*points[-1:], _beyond(cell, 1.0) if tick == TICKS else (cell.start, cell.total)]
        if k > 0:
            outputs[0][k - 1] = _narrow(points[1][0] - points[0][0], dtype).reshape(shape)
            if integral:
                length = (tick - ticks[k - 1]) / TICKS
                outputs[1][k - 1] = _narrow(horizon * _between(*points, length), dtype).reshape(shape)
    return outputs


def _narrow(values: Tensor, dtype: torch.dtype) -> Tensor:
    # spelled out: halves are rounded from float32, in the kernel as here
    return values.to(torch.float32).to(dtype) if dtype in (torch.float16, torch.bfloat16) else values.to(dtype)
