"""What the ops demand of their arguments; csrc/arguments.cpp says the same in C++, in the same words."""

from __future__ import annotations

import math

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
MOST_ROWS, MOST_TENSORS, MOST_DRAWS = 8, 32, 8
LARGEST_EVENT = 2**34  # elements of one sample: the counter holds 2^32 blocks of four


def check_affine(tensors, weights: Tensor, seeds: Tensor, first_index: int, draws: Tensor) -> None:
    """Raises ValueError naming the argument of torchdiff::affine that does not fit."""
    _check_columns("affine", tensors, seeds, first_index, draws)
    _check_tensor("affine", "weights", weights, torch.float64, tensors[0].device)
    if weights.dim() not in (2, 3) or weights.shape[-2] < 1:
        raise ValueError(
            f"affine: weights has shape {tuple(weights.shape)}; expected (R, n + Q) or (B, R, n + Q) with R >= 1"
        )
    if weights.shape[-2] > MOST_ROWS:
        raise ValueError(
            f"affine: weights has {weights.shape[-2]} rows; a call makes up to {MOST_ROWS}. Make the others in another "
            "call"
        )
    columns = len(tensors) + draws.numel()
    if weights.shape[-1] != columns:
        raise ValueError(
            f"affine: weights has {weights.shape[-1]} columns; {len(tensors)} tensors and {draws.numel()} draws need "
            f"{columns}"
        )
    if weights.dim() == 3 and weights.shape[0] != tensors[0].shape[0]:
        raise ValueError(f"affine: weights has {weights.shape[0]} sample rows for a batch of {tensors[0].shape[0]}")


def check_norms(tensors, seeds: Tensor, first_index: int, draws: Tensor) -> None:
    """Raises ValueError naming the argument of torchdiff::norms that does not fit."""
    _check_columns("norms", tensors, seeds, first_index, draws)


def check_out(tensors, rows: int, out) -> None:
    """Raises ValueError naming the tensor of `out` that torchdiff::affine.out cannot write its rows into."""
    if len(out) != rows:
        raise ValueError(f"affine: out holds {len(out)} tensors for {rows} rows")
    first = tensors[0]
    for r, t in enumerate(out):
        if t.device != first.device:
            raise ValueError(
                f"affine: out[{r}] is on {t.device}, tensors[0] on {first.device}; move them to one device"
            )
        if t.shape != first.shape:
            raise ValueError(
                f"affine: out[{r}] has shape {tuple(t.shape)}, tensors[0] {tuple(first.shape)}; they must be equal"
            )
        if t.dtype not in DTYPES:
            raise ValueError(f"affine: out[{r}] has dtype {t.dtype}; expected float32, float64, float16 or bfloat16")
        _check_own_memory("affine", f"out[{r}]", t)
        for j, other in enumerate(tensors):
            if _overlap(t, other) and not _same_elements(t, other):
                raise ValueError(
                    f"affine: out[{r}] overlaps tensors[{j}] without being the same tensor; write into a tensor of "
                    "its own"
                )
        for other in range(r):
            if _overlap(t, out[other]):
                raise ValueError(f"affine: out[{r}] overlaps out[{other}]; give each row memory of its own")


def check_normal(shape, seeds: Tensor, first_index: int, draw: Tensor, dtype: torch.dtype) -> None:
    """Raises ValueError naming the argument of torchdiff::normal that does not fit."""
    if len(shape) == 0:
        raise ValueError("normal: shape is empty; its first number is the batch")
    if any(n < 0 for n in shape):
        raise ValueError(f"normal: shape {tuple(shape)} has a negative number")
    if dtype not in DTYPES:
        raise ValueError(f"normal: dtype {dtype}; expected float32, float64, float16 or bfloat16")
    if draw.numel() != 1:
        raise ValueError(f"normal: draw has {draw.numel()} elements; expected one")
    _check_noise("normal", shape[0], math.prod(shape[1:]), seeds, first_index, "draw", draw, seeds.device)


def check_normal_out(seeds: Tensor, first_index: int, draw: Tensor, out: Tensor) -> None:
    """Raises ValueError naming the argument of torchdiff::normal.out that does not fit."""
    if out.device != seeds.device:
        raise ValueError(f"normal: out is on {out.device}, seeds on {seeds.device}; move them to one device")
    check_normal(out.shape, seeds, first_index, draw, out.dtype)
    _check_own_memory("normal", "out", out)


def _check_columns(op, tensors, seeds, first_index, draws) -> None:
    """The arguments that affine and norms have in common."""
    if len(tensors) == 0:
        raise ValueError(f"{op}: tensors is empty; give at least one tensor (B, *event)")
    if len(tensors) > MOST_TENSORS:
        raise ValueError(
            f"{op}: {len(tensors)} tensors; a call takes up to {MOST_TENSORS}. Split them over several calls"
        )
    first = tensors[0]
    if first.dim() == 0:
        raise ValueError(f"{op}: tensors[0] has no batch dimension; give (B, *event), or unsqueeze it")
    shape, device = first.shape, first.device
    for j, t in enumerate(tensors):
        if t.device != device:
            raise ValueError(f"{op}: tensors[{j}] is on {t.device}, tensors[0] on {device}; move them to one device")
        if t.shape != shape:
            raise ValueError(
                f"{op}: tensors[{j}] has shape {tuple(t.shape)}, tensors[0] {tuple(shape)}; they must be equal"
            )
        if t.dtype not in DTYPES:
            raise ValueError(f"{op}: tensors[{j}] has dtype {t.dtype}; expected float32, float64, float16 or bfloat16")
    _check_noise(op, shape[0], math.prod(shape[1:]), seeds, first_index, "draws", draws, device)
    if draws.dim() != 1:
        raise ValueError(f"{op}: draws has {draws.dim()} dimensions; expected one, (Q,)")
    if draws.numel() > MOST_DRAWS:
        raise ValueError(f"{op}: {draws.numel()} draws; a call takes up to {MOST_DRAWS}. Split them over several calls")


def _extent(t: Tensor) -> tuple[int, int]:
    """The bytes from the first to the last element; empty without elements, and where there is no memory (meta)."""
    data = t.data_ptr() if t.device.type != "meta" else 0
    if t.numel() == 0 or t.device.type == "meta":
        return data, data
    last = sum((size - 1) * stride for size, stride in zip(t.shape, t.stride(), strict=True))
    return data, data + (last + 1) * t.element_size()


def _overlap(a: Tensor, b: Tensor) -> bool:
    first, second = _extent(a), _extent(b)
    return first[0] < second[1] and second[0] < first[1]


def _same_elements(a: Tensor, b: Tensor) -> bool:
    """Whether the elements of two tensors of one shape lie in the same places."""
    steps = zip(a.shape, a.stride(), b.stride(), strict=True)
    return a.data_ptr() == b.data_ptr() and a.dtype == b.dtype and all(n <= 1 or s == t for n, s, t in steps)


def _check_own_memory(op: str, name: str, t: Tensor) -> None:
    """Refuses two elements in one place: sorted by stride, each dimension must step over all that lies below it."""
    below = 0
    for stride, size in sorted((stride, size) for stride, size in zip(t.stride(), t.shape, strict=True) if size > 1):
        if stride <= below and t.numel() > 0:
            raise ValueError(
                f"{op}: {name} has elements that share memory (shape {tuple(t.shape)}, strides {t.stride()}); write "
                "into a tensor of its own"
            )
        below += (size - 1) * stride


def _check_noise(op, batch, event, seeds, first_index, draws_name, draws, device) -> None:
    _check_tensor(op, draws_name, draws, torch.int64, device)
    _check_tensor(op, "seeds", seeds, torch.int64, device)
    count = seeds.numel()
    if seeds.dim() != 1 or not (count == 1 or count == batch or (count == 0 and draws.numel() == 0)):
        raise ValueError(
            f"{op}: seeds has shape {tuple(seeds.shape)}; expected (1,), shared by the batch, or ({batch},), one a "
            "sample (empty only without draws)"
        )
    if first_index < 0:
        raise ValueError(f"{op}: first_index is {first_index}; expected 0 or more")
    if draws.numel() > 0 and event > LARGEST_EVENT:
        raise ValueError(f"{op}: a sample of {event} elements; the noise counter ends at 2^34. Split the sample")


def _check_tensor(op, name, tensor, dtype, device) -> None:
    if tensor.device != device:
        raise ValueError(f"{op}: {name} is on {tensor.device}, expected {device}; move it there")
    if tensor.dtype != dtype:
        raise ValueError(f"{op}: {name} has dtype {tensor.dtype}; expected {dtype}")
