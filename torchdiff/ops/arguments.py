"""What the ops demand of their arguments; csrc/arguments.cpp says the same in C++, in the same words."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from torchdiff.counters import PATHS

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
LARGEST_EVENT = 2**34  # elements of one sample: the counter holds 2^32 blocks of four


def check_affine(tensors, weights: Tensor, seeds: Tensor, first_index: int, draws: Tensor) -> None:
    """Raises ValueError naming the argument of torchdiff::affine that does not fit."""
    if len(tensors) == 0:
        raise ValueError("affine: tensors is empty; give at least one tensor (B, *event)")
    first = tensors[0]
    if first.dim() == 0:
        raise ValueError("affine: tensors[0] has no batch dimension; give (B, *event), or unsqueeze it")
    shape, device = first.shape, first.device
    for j, t in enumerate(tensors):
        if t.device != device:
            raise ValueError(f"affine: tensors[{j}] is on {t.device}, tensors[0] on {device}; move them to one device")
        if t.shape != shape:
            raise ValueError(
                f"affine: tensors[{j}] has shape {tuple(t.shape)}, tensors[0] {tuple(shape)}; they must be equal"
            )
        if t.dtype not in DTYPES:
            raise ValueError(
                f"affine: tensors[{j}] has dtype {t.dtype}; expected float32, float64, float16 or bfloat16"
            )
    _check_tensor("affine", "draws", draws, torch.int64, device)
    _check_seeds("affine", shape[0], math.prod(shape[1:]), draws.numel() > 0, seeds, first_index, device)
    if draws.dim() != 1:
        raise ValueError(f"affine: draws has {draws.dim()} dimensions; expected one, (Q,)")
    _check_tensor("affine", "weights", weights, torch.float64, device)
    if weights.dim() not in (2, 3) or weights.shape[-2] < 1:
        raise ValueError(
            f"affine: weights has shape {tuple(weights.shape)}; expected (R, n + Q) or (B, R, n + Q) with R >= 1"
        )
    columns = len(tensors) + draws.numel()
    if weights.shape[-1] != columns:
        raise ValueError(
            f"affine: weights has {weights.shape[-1]} columns; {len(tensors)} tensors and {draws.numel()} draws need "
            f"{columns}"
        )
    if weights.dim() == 3 and weights.shape[0] != shape[0]:
        raise ValueError(f"affine: weights has {weights.shape[0]} sample rows for a batch of {shape[0]}")


def check_normal(shape, seeds: Tensor, first_index: int, draw: Tensor, dtype: torch.dtype) -> None:
    """Raises ValueError naming the argument of torchdiff::normal that does not fit."""
    _check_shape("normal", shape)
    if dtype not in DTYPES:
        raise ValueError(f"normal: dtype {dtype}; expected float32, float64, float16 or bfloat16")
    if draw.numel() != 1:
        raise ValueError(f"normal: draw has {draw.numel()} elements; expected one")
    _check_tensor("normal", "draw", draw, torch.int64, seeds.device)
    _check_seeds("normal", shape[0], math.prod(shape[1:]), True, seeds, first_index, seeds.device)


def check_brownian(shape, seeds: Tensor, first_index: int, path: int, times: Tensor, horizon: float, dtype) -> None:
    """Raises ValueError naming the argument of torchdiff::brownian that does not fit; reads no value of `times`."""
    _check_shape("brownian", shape)
    if dtype not in DTYPES:
        raise ValueError(f"brownian: dtype {dtype}; expected float32, float64, float16 or bfloat16")
    _check_seeds("brownian", shape[0], math.prod(shape[1:]), True, seeds, first_index, seeds.device)
    if not 0 <= path < PATHS:
        raise ValueError(f"brownian: path is {path}; expected 0 to {PATHS - 1}")
    _check_tensor("brownian", "times", times, torch.float64, torch.device("cpu"))
    if times.dim() != 1 or times.numel() < 1:
        raise ValueError(f"brownian: times has shape {tuple(times.shape)}; expected (K + 1,), the ends of K intervals")
    if not 0.0 < horizon < 1e300:
        raise ValueError(f"brownian: horizon is {horizon:g}; expected a positive finite number")


def _check_shape(op, shape) -> None:
    if len(shape) == 0:
        raise ValueError(f"{op}: shape is empty; its first number is the batch")
    if any(n < 0 for n in shape):
        raise ValueError(f"{op}: shape {tuple(shape)} has a negative number")


def _check_seeds(op, batch, event, noisy, seeds, first_index, device) -> None:
    _check_tensor(op, "seeds", seeds, torch.int64, device)
    count = seeds.numel()
    if seeds.dim() != 1 or not (count == 1 or count == batch or (count == 0 and not noisy)):
        raise ValueError(
            f"{op}: seeds has shape {tuple(seeds.shape)}; expected (1,), shared by the batch, or ({batch},), one a "
            "sample (empty only without draws)"
        )
    if first_index < 0:
        raise ValueError(f"{op}: first_index is {first_index}; expected 0 or more")
    if noisy and event > LARGEST_EVENT:
        raise ValueError(f"{op}: a sample of {event} elements; the noise counter ends at 2^34. Split the sample")


def _check_tensor(op, name, tensor, dtype, device) -> None:
    if tensor.device != device:
        raise ValueError(f"{op}: {name} is on {tensor.device}, expected {device}; move it there")
    if tensor.dtype != dtype:
        raise ValueError(f"{op}: {name} has dtype {tensor.dtype}; expected {dtype}")
