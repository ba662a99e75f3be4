"""The two ops in plain torch: what the kernels must equal bit for bit, and what runs where there is no extension."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .arguments import check_affine, check_affine_out, check_normal, check_normal_out
from .boxmuller import box_muller
from .philox import words


def normals(batch: int, count: int, seeds: Tensor, first_index: int, draw: Tensor, dtype: torch.dtype) -> Tensor:
    """(batch, count) standard normals of one draw, on the device of `seeds`; see torchdiff.noise for the layout."""
    blocks = -(-count // 4)
    return box_muller(words(batch, blocks, seeds, first_index, draw), dtype)[:, :count]


def affine(tensors: list[Tensor], weights: Tensor, seeds: Tensor, first_index: int, draws: Tensor) -> list[Tensor]:
    """torchdiff::affine in plain torch; arguments as in torchdiff.ops.affine."""
    check_affine(tensors, weights, seeds, first_index, draws)
    return _rows(tensors, weights, seeds, first_index, draws, [tensors[0]] * weights.shape[-2])


def _rows(tensors, weights, seeds, first_index, draws, like: list[Tensor]) -> list[Tensor]:
    """The rows, each in the dtype and layout of its `like`."""
    first = tensors[0]
    batch, event = first.shape[0], first.shape[1:]
    values = [t.to(torch.float64) for t in tensors]
    if len(draws):
        wide = any(t.dtype == torch.float64 for t in tensors)
        count = math.prod(event)
        for q in range(len(draws)):
            z = normals(batch, count, seeds, first_index, draws[q], torch.float64 if wide else torch.float32)
            values.append(z.to(torch.float64).reshape(first.shape))
    rows = zip(weights.unbind(-2), like, strict=True)
    return [_row(row.reshape(-1, *([1] * len(event)), row.shape[-1]), values, target) for row, target in rows]


def _row(weights: Tensor, values: list[Tensor], like: Tensor) -> Tensor:
    # Column order, each product and each sum rounded on its own: the kernel's order, which plain torch repeats.
    total = weights[..., 0] * values[0]
    for j in range(1, len(values)):
        total = total + weights[..., j] * values[j]
    if like.dtype in (torch.float16, torch.bfloat16):
        total = total.to(torch.float32)  # spelled out: halves are rounded from float32, in the kernel as here
    return torch.empty_like(like).copy_(total)


def normal(shape: list[int], seeds: Tensor, first_index: int, draw: Tensor, dtype: torch.dtype) -> Tensor:
    """torchdiff::normal in plain torch; arguments as in torchdiff.ops.normal."""
    check_normal(shape, seeds, first_index, draw, dtype)
    z = normals(shape[0], math.prod(shape[1:]), seeds, first_index, draw, dtype)
    return torch.empty(shape, dtype=dtype, device=seeds.device).copy_(z.reshape(shape))


def affine_out(tensors, weights: Tensor, seeds: Tensor, first_index: int, draws: Tensor, *, out: list[Tensor]) -> None:
    """torchdiff::affine.out in plain torch: all rows are made before the first is written, for out may be an input."""
    check_affine_out(tensors, weights, seeds, first_index, draws, out)
    for target, row in zip(out, _rows(tensors, weights, seeds, first_index, draws, out), strict=True):
        target.copy_(row)


def normal_out(seeds: Tensor, first_index: int, draw: Tensor, *, out: Tensor) -> None:
    """torchdiff::normal.out in plain torch."""
    check_normal_out(seeds, first_index, draw, out)
    out.copy_(normal(list(out.shape), seeds, first_index, draw, out.dtype))
