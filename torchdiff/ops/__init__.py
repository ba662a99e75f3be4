"""The fused op behind every plan: weighted sums of tensors plus counter-based Gaussian noise, in one pass.

Compiled for CPU and CUDA; without the extension the same results come from plain torch (see backend()).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .loader import NOISE_VERSION, Backend, ReferenceWarning, backend
from .transforms import affine

__all__ = ["NOISE_VERSION", "Backend", "ReferenceWarning", "affine", "backend", "normal"]


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
