"""The noise floor of the method: a thing against itself, big and small."""

from __future__ import annotations

import pytest
import torch

from .paired import Timed


def eager(numel):
    x, y = torch.randn(1, numel), torch.randn(1, numel)
    return Timed(lambda: 0.9 * x + 0.3 * y + 0.2 * torch.randn_like(x))


@pytest.mark.parametrize(("name", "numel"), [("192", 192), ("1M", 2**20), ("16M", 2**24)])
def test_noise_floor(versus, name, numel):
    versus(f"eager noisy step, {name}", "itself", eager(numel), eager(numel), rival=False)
