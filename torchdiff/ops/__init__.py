"""The fused op behind every plan: weighted sums of tensors plus counter-based Gaussian noise, in one pass.

Beside it the noise by itself: standard normals, and increments of Brownian paths.

Compiled for CPU and CUDA; without the extension the same results come from plain torch (see backend()).
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import autograd
from .loader import NOISE_VERSION, Backend, ReferenceWarning, backend

__all__ = ["NOISE_VERSION", "Backend", "ReferenceWarning", "affine", "backend", "brownian", "normal"]

backend()
autograd.register()


def affine(tensors: list[Tensor], weights: Tensor, seeds: Tensor, first_index: int, draws: Tensor) -> list[Tensor]:
    """out[r] = sum_j weights[..., r, j] * tensors[j] + sum_q weights[..., r, n + q] * z[q],   n = len(tensors).

    tensors: n >= 1 tensors (B, *event), one device, any strides, float32, float64, float16 or bfloat16, also mixed.
    weights: float64 (R, n + Q), or (B, R, n + Q) for weights of each sample; not differentiable.
    seeds:   int64 (1,): sample i has index first_index + i. Or (B,): each sample has its own seed, and all have index
             first_index, so that a row is what its seed alone gives for a batch of one. Empty if Q = 0.
    draws:   int64 (Q,), one draw number a noise column (torchdiff.noise.draw_number). z[q] depends on the seed, the
             sample's index, draws[q] and the element's logical index only: not on B, strides, threads or device.
    weights, seeds and draws live on the device of the tensors.
    Returns R tensors (B, *event) of tensors[0]'s dtype and layout. Each sum is taken in float64 in column order, every
    product and sum rounded by itself, then rounded once (to float16 and bfloat16 through float32).
    Raises ValueError (RuntimeError in compiled code) naming the argument that does not fit.
    """
    return torch.ops.torchdiff.affine.default(tensors, weights, seeds, first_index, draws)


def normal(shape, seeds: Tensor, first_index: int, draw: Tensor, dtype: torch.dtype) -> Tensor:
    """The normals that affine adds for one draw, (B, *event) = shape, on the device of seeds; draw: int64 (1,)."""
    return torch.ops.torchdiff.normal.default(shape, seeds, first_index, draw, dtype)


def brownian(
    shape, seeds: Tensor, first_index: int, path: int, times: Tensor, horizon: float, integral: bool, dtype: torch.dtype
) -> list[Tensor]:
    """[dW], or [dW, dI] with `integral`, of one Brownian path per sample and element on [0, horizon], W(0) = 0:

        dW[k] = W(times[k + 1]) - W(times[k]),   dI[k] = integral of W(r) - W(times[k]) dr from times[k] to times[k + 1]

    shape:  (B, *event). seeds, first_index: as in affine. path: in [0, 4096); different numbers are independent paths.
    times:  float64 (K + 1,) in [0, horizon], in any order, on the CPU whatever the device: their number and values are
            part of the launch, so that nothing waits for a device and a CUDA graph keeps them. Rounded to the nearest
            multiple of horizon / 2^24; an ulp of horizon outside counts as the end. Two equal ticks give dW = dI = 0.
    dtype:  of the outputs; float16 and bfloat16 are the rounded float32 values.
    Returns tensors (K, B, *event) on the device of seeds, not differentiable. dW and dI depend on seed, sample index,
    path, horizon, element and the two rounded times only. Each sum along the path is in float64; the normals are the
    float32 ones, for dtype float64 the float64 ones.
    Raises ValueError (RuntimeError in compiled code) naming the argument that does not fit.
    """
    return torch.ops.torchdiff.brownian.default(shape, seeds, first_index, path, times, horizon, integral, dtype)
