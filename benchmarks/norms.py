"""The SNR corrector's update, two norms and x + e score + sqrt(2 e) z, against the same in eager torch.

Run alone: python -m pytest benchmarks/norms.py
"""

from __future__ import annotations

import pytest
import torch

from torchdiff import ops
from torchdiff.draws import Fresh

from .affine import NONE, SIZES, inputs
from .paired import Timed

SCALE = 2.0 * 0.16**2


def fused(x, score):
    z = Fresh((), torch.tensor([0]), 0, torch.tensor([0]))

    def step():
        length, z_length = z.norms(score).unbind(dim=1)
        size = SCALE * (z_length / length) ** 2
        return z.add([x, score], [1.0, size, (2.0 * size).sqrt()])

    return step


def eager(x, score):
    def step():
        z = torch.randn_like(x)
        size = SCALE * (z.norm(dim=1, keepdim=True) / score.norm(dim=1, keepdim=True)) ** 2
        return x + size * score + (2.0 * size).sqrt() * z

    return step


@pytest.mark.parametrize("size", SIZES)
def test_langevin_update(versus, size):
    x, score = inputs(2, 16, SIZES[size] // 16)
    versus(f"Langevin update, 16 samples, {size}", "eager", Timed(fused(x, score)), Timed(eager(x, score)))


@pytest.mark.parametrize("size", SIZES)
def test_norms_of_a_tensor(versus, size):
    """Ours sum squares in float64, in an order that is the same on every device; eager's in float32."""
    (x,) = inputs(1, 16, SIZES[size] // 16)
    versus(
        f"norms of 16 samples, {size}",
        "eager",
        Timed(lambda: ops.norms([x], NONE, 0, NONE)),
        Timed(lambda: x.norm(dim=1)),
    )
