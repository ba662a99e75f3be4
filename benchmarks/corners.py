"""The affine op where it has no easy time: other layouts and dtypes, tiny samples, many rows, hardly any work."""

from __future__ import annotations

import pytest
import torch

from torchdiff import ops

from .affine import NONE, compiled, inputs, noisy, noisy_formula
from .paired import Timed

IMAGES = (16, 3, 256, 256)
CASES = {
    "noisy step, (16, 3, 256, 256)": (IMAGES, torch.float32),
    "noisy step, (16, 3, 256, 256) bfloat16": (IMAGES, torch.bfloat16),
    "noisy step, (16, 3, 256, 256) float64": (IMAGES, torch.float64),
    "noisy step, 65536 points (2,)": ((65536, 2), torch.float32),
    "noisy step, 1000000 samples ()": ((1_000_000,), torch.float32),
    "noisy step, (1, 3, 8, 8)": ((1, 3, 8, 8), torch.float32),
}


@pytest.mark.parametrize("case", CASES)
def test_noisy_step(versus, case):
    shape, dtype = CASES[case]
    x, y = inputs(2, *shape, dtype=dtype)
    versus(case, "eager", noisy([x, y]), Timed(lambda: noisy_formula(x, y)))


def test_channels_last(versus):
    x, y = (t.to(memory_format=torch.channels_last) for t in inputs(2, *IMAGES))
    versus("noisy step, (16, 3, 256, 256) channels_last", "eager", noisy([x, y]), Timed(lambda: noisy_formula(x, y)))


def test_with_autograd_on(versus):
    """Recording is allowed, no input wants a gradient: what a call outside of torch.no_grad costs."""
    x, y = inputs(2, 1, 3, 8, 8)
    with torch.enable_grad():
        versus("noisy step, (1, 3, 8, 8), grad mode", "eager", noisy([x, y]), Timed(lambda: noisy_formula(x, y)))


ROWS = torch.linspace(-1.0, 1.0, 32, dtype=torch.float64).view(8, 4)
NUMBERS = ROWS.tolist()


def eight_rows(x, y, z, w):
    return [a * x + b * y + c * z + d * w for a, b, c, d in NUMBERS]


@pytest.mark.parametrize("against", ["eager", "torch.compile"])
def test_eight_rows(versus, against):
    tensors = inputs(4, 1, 2**20)
    ours = Timed(lambda: ops.affine(tensors, ROWS, NONE, 0, NONE))
    if against == "eager":
        versus("8 rows of 4 tensors, 1M", against, ours, Timed(lambda: eight_rows(*tensors)))
        return
    with compiled(eight_rows) as formula:
        versus("8 rows of 4 tensors, 1M", against, ours, Timed(lambda: formula(*tensors)))
