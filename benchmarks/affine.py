"""The affine op against the same formula in eager torch: x, a network output and fresh noise.

Run: python -m pytest benchmarks/affine.py --benchmark-group-by=param:numel --benchmark-columns=median,rounds
"""

from __future__ import annotations

import pytest
import torch

from torchdiff import ops

A, B, C = 0.9, 0.3, 0.2


def fused(x, out):
    weights = torch.tensor([[A, B, C]], dtype=torch.float64)
    seeds, draws = torch.tensor([0]), torch.tensor([0])
    return lambda: ops.affine([x, out], weights, seeds, 0, draws)


def eager(x, out):
    return lambda: A * x + B * out + C * torch.randn_like(x)


@pytest.mark.parametrize("numel", [192, 2**20, 2**24])
@pytest.mark.parametrize("form", [fused, eager], ids=["fused", "eager"])
def test_noisy_step(benchmark, form, numel):
    x, out = torch.randn(1, numel), torch.randn(1, numel)
    benchmark(form(x, out))
