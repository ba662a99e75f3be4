"""The fused op behind every plan: weighted sums of tensors plus counter-based Gaussian noise, in one pass.

Compiled for CPU and CUDA; without the extension the same results come from plain torch (see backend()).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .loader import NOISE_VERSION, Backend, ReferenceWarning, backend
from .transforms import affine

__all__ = ["NOISE_VERSION", "Backend", "ReferenceWarning", "affine", "backend", "normal"]


def normal(shape, seeds: Tensor, first_index: int, draw: Tensor, dtype: torch.dtype) -> Tensor:
    """The normals that affine adds for one draw, (B, *event) = shape, on the device of seeds; draw: int64 (1,)."""
    return torch.ops.torchdiff.normal.default(shape, seeds, first_index, draw, dtype)
