"""What the ops demand of their arguments; csrc/arguments.cpp says the same in C++, in the same words."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from torchdiff.counters import PATHS
from torchdiff.limits import DRAWS, ROWS, TENSORS

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
LARGEST_EVENT = 2**34  # elements of one sample: the counter holds 2^32 blocks of four


def check_affine(tensors, weights: Tensor, seeds: Tensor, first_index: int, draws: Tensor) -> None:
    """Raises ValueError naming the argument of torchdiff::affine that does not fit."""
    _check_given("affine", weights=weights, seeds=seeds, draws=draws)
    _check_columns("affine", tensors, seeds, first_index, draws)
    _check_tensor("affine", "weights", weights, torch.float64, tensors[0].device)
    if weights.dim() not in (2, 3) or weights.shape[-2] < 1:
        raise ValueError(
            f"affine: weights has shape {tuple(weights.shape)}; expected (R, n + Q) or (B, R, n + Q) with R >= 1"
        )
    if weights.shape[-2] > ROWS:
        raise ValueError(
            f"affine: weights has {weights.shape[-2]} rows; a call makes up to {ROWS}. Make the others in another call"
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
    _check_given("norms", seeds=seeds, draws=draws)
    _check_columns("norms", tensors, seeds, first_index, draws)


def check_normal(shape, seeds: Tensor, first_index: int, draw: Tensor, dtype: torch.dtype) -> None:
    """Raises ValueError naming the argument of torchdiff::normal that does not fit."""
    _check_given("normal", seeds=seeds, draw=draw)
    _check_shape("normal", shape)
    if dtype not in DTYPES:
        raise ValueError(f"normal: dtype {dtype}; expected float32, float64, float16 or bfloat16")
    if draw.numel() != 1:
        raise ValueError(f"normal: draw has {draw.numel()} elements; expected one")
    _check_tensor("normal", "draw", draw, torch.int64, seeds.device)
    _check_seeds("normal", shape[0], math.prod(shape[1:]), True, seeds, first_index, seeds.device)


def _check_columns(op, tensors, seeds, first_index, draws) -> None:
    """The arguments that affine and norms have in common."""
    if len(tensors) == 0:
        raise ValueError(f"{op}: tensors is empty; give at least one tensor (B, *event)")
    if len(tensors) > TENSORS:
        raise ValueError(f"{op}: {len(tensors)} tensors; a call takes up to {TENSORS}. Split them over several calls")
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
    _check_tensor(op, "draws", draws, torch.int64, device)
    _check_seeds(op, shape[0], math.prod(shape[1:]), draws.numel() > 0, seeds, first_index, device)
    if draws.dim() != 1:
        raise ValueError(f"{op}: draws has {draws.dim()} dimensions; expected one, (Q,)")
    if draws.numel() > DRAWS:
        raise ValueError(f"{op}: {draws.numel()} draws; a call takes up to {DRAWS}. Split them over several calls")


def check_brownian(shape, seeds: Tensor, first_index: int, path: int, times: Tensor, horizon: float, dtype) -> None:
    """Raises ValueError naming the argument of torchdiff::brownian that does not fit; reads no value of `times`."""
    _check_given("brownian", seeds=seeds, times=times)
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


def _check_given(op, **arguments) -> None:
    for name, value in arguments.items():
        if not isinstance(value, Tensor):  # the dispatcher hands None on, where a tensor should be
            raise TypeError(f"{op}: {name} is {type(value).__name__}; expected a tensor")


def _check_tensor(op, name, tensor, dtype, device) -> None:
    if tensor.device != device:
        raise ValueError(f"{op}: {name} is on {tensor.device}, expected {device}; move it there")
    if tensor.dtype != dtype:
        raise ValueError(f"{op}: {name} has dtype {tensor.dtype}; expected {dtype}")


def check_affine_out(
    tensors, weights: Tensor, seeds: Tensor, first_index: int, draws: Tensor, out, memory=True
) -> None:
    """check_affine, and that out can take the rows. memory: also that no element is written twice or read after."""
    check_affine(tensors, weights, seeds, first_index, draws)
    rows, first = weights.shape[-2], tensors[0]
    if len(out) != rows:
        raise ValueError(f"affine: out holds {len(out)} tensors; weights have {rows} rows")
    for r, target in enumerate(out):
        if target.device != first.device:
            raise ValueError(f"affine: out[{r}] is on {target.device}, tensors[0] on {first.device}; move it there")
        if target.shape != first.shape:
            raise ValueError(
                f"affine: out[{r}] has shape {tuple(target.shape)}, tensors[0] {tuple(first.shape)}; they must be equal"
            )
        if target.dtype not in DTYPES:
            raise ValueError(
                f"affine: out[{r}] has dtype {target.dtype}; expected float32, float64, float16 or bfloat16"
            )
    if not memory or first.numel() == 0:
        return
    for r, target in enumerate(out):
        _check_own(f"affine: out[{r}]", target)
        for name, others in (("tensors", tensors), ("out", out[:r])):
            for j, other in enumerate(others):
                if _meet(target, other) and not (name == "tensors" and _same(target, other)):
                    raise ValueError(
                        f"affine: out[{r}] shares memory with {name}[{j}]; give it memory of its own"
                        + (", or the very same tensor" if name == "tensors" else "")
                    )


def check_normal_out(seeds: Tensor, first_index: int, draw: Tensor, out: Tensor, memory=True) -> None:
    """check_normal of the shape, dtype and device of out, which may not overlap itself."""
    _check_given("normal", seeds=seeds, draw=draw, out=out)
    check_normal(out.shape, seeds, first_index, draw, out.dtype)
    if out.device != seeds.device:
        raise ValueError(f"normal: out is on {out.device}, seeds on {seeds.device}; move one of them")
    if memory and out.numel() > 0:
        _check_own("normal: out", out)


def _check_own(what: str, t: Tensor) -> None:
    """Every element has its own place: each stride steps over all that the smaller ones reach."""
    reach = 0
    for stride, size in sorted((s, n) for s, n in zip(t.stride(), t.shape, strict=True) if n > 1):
        if stride <= reach:
            raise ValueError(f"{what} overlaps itself, with strides {t.stride()}; give it memory for every element")
        reach += stride * (size - 1)


def _span(t: Tensor) -> tuple[int, int]:
    """First and last byte."""
    reach = sum(stride * (size - 1) for stride, size in zip(t.stride(), t.shape, strict=True))
    return t.data_ptr(), t.data_ptr() + (reach + 1) * t.element_size() - 1


def _meet(a: Tensor, b: Tensor) -> bool:
    (first_a, last_a), (first_b, last_b) = _span(a), _span(b)
    return first_a <= last_b and first_b <= last_a


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether the elements of two tensors of one shape lie in the same places."""
    steps = zip(a.shape, a.stride(), b.stride(), strict=True)
    return a.data_ptr() == b.data_ptr() and a.dtype == b.dtype and all(n <= 1 or s == t for n, s, t in steps)
