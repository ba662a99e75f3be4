"""The fused op behind every plan: weighted sums of tensors plus counter-based Gaussian noise, in one pass.

Beside it the noise by itself: standard normals, and increments of Brownian paths.

Compiled for CPU and CUDA; without the extension the same results come from plain torch (see backend()).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .loader import NOISE_VERSION, Backend, ReferenceWarning, backend
from .transforms import affine, watched

__all__ = [
    "NOISE_VERSION",
    "Backend",
    "ReferenceWarning",
    "affine",
    "backend",
    "brownian",
    "normal",
    "norms",
    "release_memory",
    "watched",
]


def normal(
    shape, seeds: Tensor, first_index: int, draw: Tensor, dtype: torch.dtype, *, out: Tensor | None = None
) -> Tensor:
    """The normals that affine adds for one draw, (B, *event) = shape, on the device of seeds; draw: int64 (1,).

    out: a tensor of this shape and dtype to write them to, any strides; it is returned.
    """
    if out is None:
        return torch.ops.torchdiff.normal.default(shape, seeds, first_index, draw, dtype)
    if out.shape != tuple(shape) or out.dtype != dtype:
        raise ValueError(
            f"normal: out has shape {tuple(out.shape)} and dtype {out.dtype}, asked for {tuple(shape)} and {dtype}"
        )
    torch.ops.torchdiff.normal.out(seeds, first_index, draw, out=out)
    return out


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


def release_memory() -> int:
    """Returns to the system the memory of large outputs that were freed; how many bytes that were.

    On Linux with torch 2.11 or later, outputs of `affine` and `normal` of 4 MiB or more on the CPU lie in blocks of
    huge pages that the next such output gets when they are freed, so that no page is cleared twice. Up to 256 MiB of
    freed blocks are kept, or as many MiB as TORCHDIFF_KEEP_MEMORY says in the environment (0: outputs are torch's own).
    All but the 64 MiB that were freed last may be taken by the system when it runs short. A child of fork() starts
    with none. Such an output cannot grow by resize_, as a tensor of numpy's memory cannot.
    """
    return backend().release()


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
