"""The SNR corrector's update, two norms and x + e score + sqrt(2 e) z, against the same in eager torch.

Run: python -m pytest benchmarks/norms.py --benchmark-group-by=param:numel --benchmark-columns=median,rounds
"""

from __future__ import annotations

import pytest
import torch

from torchdiff.draws import Fresh

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


@pytest.mark.parametrize("numel", [2**20, 2**24])
@pytest.mark.parametrize("form", [fused, eager], ids=["fused", "eager"])
def test_langevin_update(benchmark, form, numel):
    x, score = torch.randn(16, numel // 16), torch.randn(16, numel // 16)
    benchmark(form(x, score))
