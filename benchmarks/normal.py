"""Normals into a given tensor, against Tensor.normal_."""

from __future__ import annotations

import pytest
import torch

from torchdiff import ops

from .affine import DRAWS, SEEDS, SIZES
from .paired import Timed


def fill(out):
    return Timed(lambda: ops.normal(out.shape, SEEDS, 0, DRAWS, out.dtype, out=out))


@pytest.mark.parametrize("size", SIZES)
def test_normals(versus, size):
    mine, theirs = torch.empty(1, SIZES[size]), torch.empty(1, SIZES[size])

    def each(pairs):
        return f"{1e9 * pairs.ours / mine.numel():.2f} ns a normal, theirs {1e9 * pairs.theirs / mine.numel():.2f}"

    versus(f"normals, {size}, given out", "normal_", fill(mine), Timed(theirs.normal_), least=4.5, note=each)
