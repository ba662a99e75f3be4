"""Means of a kernel over all pairs of two sets; float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchdiff.errors import IncompatibleError
from torchdiff.metrics.base import Judge

if TYPE_CHECKING:
    from torchdiff.metrics.base import Metric

ROWS = 1024  # of a table at a time


def distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j| (n, m); by differences up to 64 coordinates, beyond by a product of matrices, good to 1e-7 of |a|."""
    far = a.shape[1] > 64
    middle = b.mean(0)
    mode = "use_mm_for_euclid_dist" if far else "donot_use_mm_for_euclid_dist"
    return torch.cdist(a - middle, b - middle, compute_mode=mode)


def median_distance(real: Tensor) -> float:
    """The median distance between two different points of the first 1000."""
    flat = real[:1000].reshape(min(len(real), 1000), -1)
    found = float(distances(flat, flat)[torch.ones(len(flat), len(flat)).triu(1) > 0].median())
    if not found > 0.0:
        raise IncompatibleError("half of the real points are one and the same: mmd needs bandwidth=... for them")
    return found


class PairJudge(Judge):
    """mean k(x, x') + mean k(y, y') - 2 mean k(x, y), with the table of the samples made once."""

    def __init__(self, metric: Metric, real: Tensor, kernel: Callable[[Tensor], Tensor], unbiased: bool) -> None:
        self.metric, self.event, self.kernel, self.unbiased = metric, tuple(real.shape[1:]), kernel, unbiased
        self.real = real.reshape(len(real), -1)
        self.itself = float(kernel(torch.zeros(1, dtype=torch.float64)))  # k of a point with itself
        total = sum(float(self.rows(part).sum()) for part in self.real.split(ROWS))
        self.within = self._mean(total, len(self.real))

    def rows(self, x: Tensor) -> Tensor:
        """(n, M): k of each x with each real point."""
        return self.kernel(distances(x, self.real))

    def _mean(self, total, count: int):
        """The mean over pairs, of a sum over all that has a point with itself in it."""
        if self.unbiased:
            return (total - count * self.itself) / (count * (count - 1))
        return total / count**2

    def see(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flat = x.reshape(len(x), -1)
        table = torch.cat([self.kernel(distances(part, flat)) for part in flat.split(ROWS)])
        table.fill_diagonal_(self.itself)  # by a product of matrices it would be rounding
        return table, torch.cat([self.rows(part).mean(1) for part in flat.split(ROWS)])

    def scores(self, seen: tuple[Tensor, Tensor], counts: Tensor) -> Tensor:
        table, across = seen
        weights, size = counts.double(), int(counts[0].sum())
        own = ((weights @ table) * weights).sum(1)
        return self._mean(own, size) + self.within - 2.0 * (weights @ across) / size
