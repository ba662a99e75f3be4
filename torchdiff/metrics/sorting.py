"""Samples sorted into modes, and into real and not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchdiff.errors import OptionError
from torchdiff.metrics.base import Judge
from torchdiff.metrics.seen import IMAGE, seen
from torchdiff.metrics.tables import median_distance

if TYPE_CHECKING:
    from torchdiff.metrics.classes import C2ST, Modes

FOLDS = 5
RIDGE = 1e-3  # of a feature's mean square
FEATURES_SEED = 0xFEA7


class ModesJudge(Judge):
    def __init__(self, metric: Modes, target: Any) -> None:
        self.metric, self.event, self.target = metric, target.shape, target
        self.weights = target.mode_weights()

    def counts(self, x: Tensor) -> Tensor:
        """(K,) int64: the samples in each mode."""
        return self.see(self.checked(x)).sum(0).long()

    def dropped(self, x: Tensor) -> list[int]:
        """The modes that have fewer than a tenth of the samples that are theirs."""
        found = self.counts(x)
        return (found < 0.1 * self.weights * found.sum()).nonzero()[:, 0].tolist()

    def see(self, x: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(self.target.mode_of(x), len(self.weights)).double()

    def scores(self, seen: Tensor, counts: Tensor) -> Tensor:
        share = counts.double() @ seen / int(counts[0].sum())
        return 0.5 * (share - self.weights).abs().sum(1)


class C2STJudge(Judge):
    """Rows of both sets with the same number are in one fold, so a point drawn twice is never in and out."""

    def __init__(self, metric: C2ST, real: Tensor) -> None:
        from torchdiff.noise import USER, draw_number, normal

        self.metric, self.event = metric, tuple(real.shape[1:])
        self.shift, self.scale = 0.0, 1.0
        flat = self._flat(real)
        self.shift, self.scale = flat.mean(0), flat.std(0).clamp(min=1e-12)
        flat = (flat - self.shift) / self.scale
        z = normal(
            (metric.features, flat.shape[1]),
            seed=FEATURES_SEED,
            draw=draw_number(USER),
            dtype=torch.float64,
            device="cpu",
        )
        self.frequencies = z / median_distance(flat)
        self.phases = 2.0 * math.pi * (torch.arange(metric.features, dtype=torch.float64) + 0.5) / metric.features
        self.real = self._features(flat)
        self.square = self.real.T @ self.real
        self.total = torch.stack([self.real[k::FOLDS].sum(0) for k in range(FOLDS)])

    def _flat(self, x: Tensor) -> Tensor:
        return seen(x) if self.event == IMAGE else x.reshape(len(x), -1)

    def _features(self, flat: Tensor) -> Tensor:
        waves = (flat @ self.frequencies.T + self.phases).cos()
        return torch.cat([torch.ones(len(flat), 1, dtype=torch.float64), flat, waves], dim=1)

    def see(self, x: Tensor) -> Tensor:
        return self._features((self._flat(x) - self.shift) / self.scale)

    def scores(self, seen: Tensor, counts: Tensor) -> Tensor:
        size = int(counts[0].sum())
        if size != len(self.real):
            raise OptionError(f"c2st takes as many samples as real rows; got {size} and {len(self.real)}")
        return torch.tensor([self._score(seen, row) for row in counts], dtype=torch.float64)

    def _score(self, seen: Tensor, row: Tensor) -> float:
        """The mean accuracy over samples and real points, less a half."""
        count = row.double()
        # second moments know no labels, so those of all points serve every fold; the sums are of the other folds alone
        normal = (seen.T * count) @ seen + self.square
        normal = normal + RIDGE * normal.diagonal().mean() * torch.eye(len(normal), dtype=torch.float64)
        own = torch.stack([count[k::FOLDS] @ seen[k::FOLDS] for k in range(FOLDS)])
        gap = self.total - own
        weights = torch.linalg.solve(normal, (gap.sum(0) - gap).T)
        right = 0.0
        for k in range(FOLDS):
            right += float(count[k::FOLDS] @ (seen[k::FOLDS] @ weights[:, k] < 0.0).double())
            right += float((self.real[k::FOLDS] @ weights[:, k] >= 0.0).sum())
        return right / (2 * len(self.real)) - 0.5
