"""Numbers of a sample: its standard deviation and quantiles, with bits that do not depend on the batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def flat(x: Tensor) -> Tensor:
    """(B, n)."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def total(x: Tensor) -> Tensor:
    """The sums of the rows of (B, n), (B,): halves are added up, in an order that n alone decides."""
    while (n := x.shape[1]) > 1:
        half = n // 2
        x = torch.cat([x[:, :half] + x[:, half : 2 * half], x[:, 2 * half :]], dim=1)
    return x.squeeze(1)


def deviation(x: Tensor) -> Tensor:
    """The standard deviation of the numbers of each sample (B,), float64, by n and not n - 1."""
    rows = flat(x).double()
    away = rows - (total(rows) / rows.shape[1]).unsqueeze(1)
    square = total(away * away) / rows.shape[1]
    still = square == 0.0  # kept out of the root, where it would make gradients nan
    return square.masked_fill(still, 1.0).sqrt().masked_fill(still, 0.0)


def quantile(x: Tensor, level: float) -> Tensor:
    """The quantile of each row of (B, n), (B,): linear between order statistics."""
    place = level * (x.shape[1] - 1)
    low = min(math.floor(place), x.shape[1] - 1)
    top = x.topk(x.shape[1] - low, dim=1).values  # the largest first
    a, b = top[:, -1], top[:, max(-2, -top.shape[1])]
    return a + (b - a) * (place - low)
