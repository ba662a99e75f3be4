"""Images as the shipped classifier sees them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchdiff.metrics.base import Judge
from torchdiff.zoo import digits

if TYPE_CHECKING:
    from torchdiff.metrics.features import Frechet

IMAGE = (1, 28, 28)
classifier = lru_cache(maxsize=1)(digits.classifier)


def seen(images: Tensor) -> Tensor:
    """(B, 64) float64 features of images (B, 1, 28, 28) in [-1, 1]."""
    with torch.inference_mode():
        found = torch.cat([classifier().features(part.float()) for part in images.split(100)])
    return found.double().clone()


class FrechetJudge(Judge):
    """real: images (M, 1, 28, 28), or the features (M, 64) of images."""

    def __init__(self, metric: Frechet, real: Tensor) -> None:
        self.metric, self.event = metric, IMAGE
        self.real = real if real.dim() == 2 else seen(real)

    def see(self, x: Tensor) -> Tensor:
        return seen(x)

    def scores(self, seen: Tensor, counts: Tensor) -> Tensor:
        found = [digits.frechet(seen.repeat_interleave(row, dim=0), self.real) for row in counts]
        return torch.tensor(found, dtype=torch.float64)
