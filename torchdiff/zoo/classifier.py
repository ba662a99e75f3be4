"""A small classifier of 28 x 28 digits: the judge of samples, and the space in which they are compared."""

import torch.nn.functional as F
from torch import Tensor, nn


class Classifier(nn.Module):
    """Three 3 x 3 convolutions with GroupNorm and max-pooling, 28 -> 14 -> 7 -> 3, then 64 features, then 10 logits.

    Images are in [-1, 1], as the data of the U-Net. About 76 000 parameters. Rows do not depend on one another.
    """

    def __init__(self, features: int = 64):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 24, 3, padding=1)
        self.norm1 = nn.GroupNorm(4, 24)
        self.conv2 = nn.Conv2d(24, 48, 3, padding=1)
        self.norm2 = nn.GroupNorm(4, 48)
        self.conv3 = nn.Conv2d(48, 64, 3, padding=1)
        self.norm3 = nn.GroupNorm(4, 64)
        self.embed = nn.Linear(64 * 9, features)
        self.head = nn.Linear(features, 10)

    def features(self, x: Tensor) -> Tensor:
        """x (B, 1, 28, 28) -> (B, 64), before the last nonlinearity: smooth, and nearer to Gaussian than after it."""
        h = F.max_pool2d(F.silu(self.norm1(self.conv1(x))), 2)
        h = F.max_pool2d(F.silu(self.norm2(self.conv2(h))), 2)
        h = F.max_pool2d(F.silu(self.norm3(self.conv3(h))), 2)
        return self.embed(h.flatten(1))

    def logits(self, features: Tensor) -> Tensor:
        """features (B, 64) -> (B, 10): the class and the distance of samples need one pass only."""
        return self.head(F.silu(features))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 1, 28, 28) -> logits (B, 10)."""
        return self.logits(self.features(x))
