"""The exact Wasserstein distance of two sets of points, by the optimal pairing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchdiff.errors import OptionError
from torchdiff.metrics.base import Judge

if TYPE_CHECKING:
    from torchdiff.metrics.transport import W2


def squares(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|^2 (n, m) of a (n, D), b (m, D); by differences, for equal points should be at distance 0."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square_()


class W2Judge(Judge):
    def __init__(self, metric: W2, real: Tensor) -> None:
        self.metric, self.event = metric, tuple(real.shape[1:])
        self.real = real.reshape(len(real), -1)

    def see(self, x: Tensor) -> Tensor:
        return squares(x.reshape(len(x), -1), self.real)

    def scores(self, seen: Tensor, counts: Tensor) -> Tensor:
        from scipy.optimize import linear_sum_assignment

        if int(counts[0].sum()) != len(self.real):
            raise OptionError(
                f"w2 pairs as many samples as real rows; got {int(counts[0].sum())} samples and {len(self.real)} rows"
            )
        found = []
        for row in counts:
            cost = seen.repeat_interleave(row, dim=0).numpy()
            found.append(cost[linear_sum_assignment(cost)].mean() ** 0.5)
        return torch.tensor(found, dtype=torch.float64)
