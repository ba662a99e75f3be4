"""The fused op behind every plan: weighted sums of tensors plus counter-based Gaussian noise, in one pass.

Compiled for CPU and CUDA; without the extension the same results come from plain torch (see backend()).
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import autograd
from .loader import NOISE_VERSION, Backend, ReferenceWarning, backend

__all__ = ["NOISE_VERSION", "Backend", "ReferenceWarning", "affine", "backend", "normal", "norms"]

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
    Returns R tensors (B, *event) of tensors[0]'s dtype and layout. Sums run from the last column to
    column 0, the state: in float32 by fma, with weights in two float32 parts, so that a float32 state is rounded once a
    step and hardly more; in float64 if a tensor is, every product and sum rounded by itself. Weights beyond float32's
    range give nan then. A row that holds nan or infinity at an element is not finite there.
    Raises ValueError (RuntimeError in compiled code) naming the argument that does not fit.
    """
    return torch.ops.torchdiff.affine.default(tensors, weights, seeds, first_index, draws)


def norms(tensors: list[Tensor], seeds: Tensor, first_index: int, draws: Tensor) -> Tensor:
    """norm[:, j] = |tensors[j]|,   norm[:, n + q] = |z[q]|,   |.| the 2-norm over each sample,   n = len(tensors).

    tensors: n >= 1 tensors (B, *event), one device, any strides, float32, float64, float16 or bfloat16, also mixed.
    seeds, first_index, draws: as in affine; z[q] are the normals that it adds for the same, float64 if a tensor is and
             float32 if not. They are made on the way and never stored.
    seeds and draws live on the device of the tensors.
    Returns float64 (B, n + Q). Squares and sums are float64, in an order that depends on the event's size alone, so the
    bits do not depend on B, strides, threads or device, and a norm overflows only where float64 does. The norm of an
    empty sample is 0. The derivative by a tensor is tensors[j] / |tensors[j]|, and 0 where the norm is.
    Raises ValueError (RuntimeError in compiled code) naming the argument that does not fit.
    """
    return torch.ops.torchdiff.norms.default(tensors, seeds, first_index, draws)


def normal(shape, seeds: Tensor, first_index: int, draw: Tensor, dtype: torch.dtype) -> Tensor:
    """The normals that affine adds for one draw, (B, *event) = shape, on the device of seeds; draw: int64 (1,)."""
    return torch.ops.torchdiff.normal.default(shape, seeds, first_index, draw, dtype)
