"""The ops in plain torch: what the kernels must equal bit for bit, and what runs where there is no extension."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .arguments import check_affine, check_affine_out, check_normal, check_normal_out, check_norms
from .boxmuller import box_muller, square_root
from .fma import fma32
from .philox import words

RANGES, RANGE = 16, 256  # of the lanes in which norms are summed: csrc/norms.h


def normals(batch: int, count: int, seeds: Tensor, first_index: int, draw: Tensor, dtype: torch.dtype) -> Tensor:
    """(batch, count) standard normals of one draw, on the device of `seeds`; see torchdiff.noise for the layout."""
    blocks = -(-count // 4)
    return box_muller(words(batch, blocks, seeds, first_index, draw), dtype)[:, :count]


def affine(tensors: list[Tensor], weights: Tensor, seeds: Tensor, first_index: int, draws: Tensor) -> list[Tensor]:
    """torchdiff::affine in plain torch; arguments as in torchdiff.ops.affine."""
    check_affine(tensors, weights, seeds, first_index, draws)
    rows = _rows(tensors, weights, seeds, first_index, draws)
    return [_write(row, torch.empty_like(tensors[0])) for row in rows]


def affine_out(
    tensors: list[Tensor], weights: Tensor, seeds: Tensor, first_index: int, draws: Tensor, *, out: list[Tensor]
) -> None:
    """torchdiff::affine.out in plain torch; arguments as in torchdiff.ops.affine."""
    check_affine_out(tensors, weights, seeds, first_index, draws, out)
    # all rows before the first is written: an output may be an input
    for tensor, row in zip(out, _rows(tensors, weights, seeds, first_index, draws), strict=True):
        _write(row, tensor)


def _write(row: Tensor, out: Tensor) -> Tensor:
    # spelled out: halves are rounded from float32, in the kernel as here
    return out.copy_(row.to(torch.float32) if out.dtype in (torch.float16, torch.bfloat16) else row)


def _rows(tensors, weights, seeds, first_index, draws) -> list[Tensor]:
    """The row sums in float32, or in float64 if a tensor is."""
    first = tensors[0]
    batch, event = first.shape[0], first.shape[1:]
    wide = any(t.dtype == torch.float64 for t in tensors)
    dtype = torch.float64 if wide else torch.float32
    values = [t.to(dtype) for t in tensors]
    count = math.prod(event)
    for q in range(len(draws)):
        values.append(normals(batch, count, seeds, first_index, draws[q], dtype).reshape(first.shape))
    rows = [row.reshape(-1, *([1] * len(event)), row.shape[-1]) for row in weights.unbind(-2)]
    return [(_sum64 if wide else _sum32)(row, values) for row in rows]


def _sum64(weights: Tensor, values: list[Tensor]) -> Tensor:
    # the last column first, each product and each sum rounded on its own
    total = torch.zeros_like(values[0])
    for c in reversed(range(len(values))):
        total = total + weights[..., c] * values[c]
    return total


def _sum32(weights: Tensor, values: list[Tensor]) -> Tensor:
    # csrc/affine.h says why: weights in two parts, the state last
    high = weights.to(torch.float32)
    low = (weights - high.to(torch.float64)).to(torch.float32)
    total, rest = torch.zeros_like(values[0]), torch.zeros_like(values[0])
    for c in reversed(range(1, len(values))):
        total = fma32(high[..., c], values[c], total)
        rest = fma32(low[..., c], values[c], rest)
    return fma32(high[..., 0], values[0], fma32(low[..., 0], values[0], rest) + total)


def norms(tensors: list[Tensor], seeds: Tensor, first_index: int, draws: Tensor) -> Tensor:
    """torchdiff::norms in plain torch; arguments as in torchdiff.ops.norms."""
    check_norms(tensors, seeds, first_index, draws)
    batch, count = tensors[0].shape[0], math.prod(tensors[0].shape[1:])
    dtype = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
    values = [t.reshape(batch, count) for t in tensors]
    values += [normals(batch, count, seeds, first_index, draw, dtype) for draw in draws]
    return torch.stack([square_root(_sum_of_squares(v.to(torch.float64))) for v in values], dim=1)


def _sum_of_squares(values: Tensor) -> Tensor:
    """The sums (batch,) of values (batch, count) float64, in the order of csrc/norms.h."""
    batch, count = values.shape
    ranges, width = _lanes(-(-count // 4))
    turns = max(1, -(-count // (4 * ranges * width)))
    padded = torch.nn.functional.pad(values * values, (0, 4 * ranges * width * turns - count))
    squares = padded.view(batch, turns, ranges, width, 4)
    blocks = (squares[..., 0] + squares[..., 1]) + (squares[..., 2] + squares[..., 3])
    sums, *others = blocks.unbind(1)
    for turn in others:
        sums = sums + turn
    return _folded(_folded(sums))


def _lanes(blocks: int) -> tuple[int, int]:
    """How many ranges of how many lanes are not 0 for certain: powers of two."""
    ranges = -(-blocks // RANGE)
    return min(RANGES, 1 << max(0, ranges - 1).bit_length()), min(RANGE, 1 << max(0, blocks - 1).bit_length())


def _folded(sums: Tensor) -> Tensor:
    """The last dimension added up by halves."""
    while sums.shape[-1] > 1:
        lower, upper = sums.chunk(2, dim=-1)
        sums = lower + upper
    return sums.squeeze(-1)


def normal(shape: list[int], seeds: Tensor, first_index: int, draw: Tensor, dtype: torch.dtype) -> Tensor:
    """torchdiff::normal in plain torch; arguments as in torchdiff.ops.normal."""
    check_normal(shape, seeds, first_index, draw, dtype)
    z = normals(shape[0], math.prod(shape[1:]), seeds, first_index, draw, dtype)
    return torch.empty(shape, dtype=dtype, device=seeds.device).copy_(z.reshape(shape))


def normal_out(seeds: Tensor, first_index: int, draw: Tensor, *, out: Tensor) -> None:
    """torchdiff::normal.out in plain torch; arguments as in torchdiff.ops.normal."""
    check_normal_out(seeds, first_index, draw, out)
    z = normals(out.shape[0], math.prod(out.shape[1:]), seeds, first_index, draw, out.dtype)
    out.copy_(z.reshape(out.shape))
