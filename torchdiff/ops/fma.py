"""The fused multiply-add in plain torch: what the compiled code does in one instruction."""

from __future__ import annotations

import torch
from torch import Tensor


def fma32(a, b, c) -> Tensor:
    """a * b + c rounded once to float32; a, b, c float32 tensors or floats of float32 value, at least one a tensor.

    The product is exact in float64; the sum is rounded there first, to odd: a sum that is not exact gets the neighbour
    whose last bit is 1. With 29 bits to spare, rounding that to float32 is rounding the exact sum, even to subnormals.
    """
    product, c = _wide(a) * _wide(b), _wide(c)
    total = product + c
    back = total - product
    error = (product - (total - back)) + (c - back)  # Knuth's TwoSum: total + error = product + c exactly
    bits = total.view(torch.int64)
    inexact = (error != 0.0) & error.isfinite() & (bits & 1 == 0)
    step = (torch.sign(error) * torch.sign(total)).nan_to_num(0.0).to(torch.int64)
    return torch.where(inexact, bits + step, bits).view(torch.float64).to(torch.float32)


def _wide(value):
    return value.to(torch.float64) if isinstance(value, Tensor) else value
