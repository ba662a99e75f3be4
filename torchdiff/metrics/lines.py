"""Distances between sets on many lines at once, by sorting; float64."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchdiff.metrics.base import Judge

if TYPE_CHECKING:
    from torchdiff.metrics.marginals import KS
    from torchdiff.metrics.transport import SlicedW2

DIRECTIONS_SEED = 0x51CED


def directions(count: int, dim: int) -> Tensor:
    """(count, dim) unit vectors: at equal angles in the plane, else random, the same at every call."""
    from torchdiff.noise import USER, draw_number, normal

    if dim == 1:
        return torch.ones(count, 1, dtype=torch.float64)
    if dim == 2:
        angle = math.pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count
        return torch.stack([angle.cos(), angle.sin()], dim=1)
    z = normal((count, dim), seed=DIRECTIONS_SEED, draw=draw_number(USER), dtype=torch.float64, device="cpu")
    return z / z.norm(dim=1, keepdim=True)


def copies(order: Tensor, counts: Tensor) -> Tensor:
    """(P, m) rows of a set in the order of P lines, row i counts[i] times, sum m; order (P, B), counts (B,)."""
    times = counts[order]
    return order.reshape(-1).repeat_interleave(times.reshape(-1)).reshape(len(order), -1)


def pairing(n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """The steps of the two quantile functions of n and m points: which point of each, and for how much of [0, 1].

    The union of i / n and j / m, i. e. of multiples of 1 / nm: whole numbers, so that equal sizes pair one to one.
    """
    ends = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    return starts // m, starts // n, (ends - starts).double() / (n * m)


class SlicedJudge(Judge):
    """Sorts the projections of a set once; a set with other counts keeps their order.

    Sample i of n on a line is the quantile function on [i / n, (i + 1) / n]; there the real one has a mean m_i and a
    variance v_i, so the squared distance is the mean of (x_i - m_i)^2 + v_i.
    """

    def __init__(self, metric: SlicedW2, real: Tensor) -> None:
        self.metric, self.event = metric, tuple(real.shape[1:])
        flat = real.reshape(len(real), -1)
        self.directions = directions(metric.directions, flat.shape[1])
        self.real = (self.directions @ flat.T).sort(dim=1).values
        self.strata: dict[int, tuple[Tensor, Tensor]] = {}

    def _strata(self, n: int) -> tuple[Tensor, Tensor]:
        """m (P, n), and the mean of v (P,)."""
        if n not in self.strata:
            i, j, length = pairing(n, self.real.shape[1])
            value, weight = self.real[:, j], n * length
            mean = self.real.new_zeros(len(self.real), n).index_add_(1, i, value * weight)
            self.strata[n] = mean, (value - mean[:, i]).square() @ length
        return self.strata[n]

    def see(self, x: Tensor) -> tuple[Tensor, Tensor]:
        line = self.directions @ x.reshape(len(x), -1).T
        return line, line.argsort(dim=1, stable=True)

    def scores(self, seen: tuple[Tensor, Tensor], counts: Tensor) -> Tensor:
        line, order = seen
        mean, rest = self._strata(int(counts[0].sum()))
        found = [((line.gather(1, copies(order, row)) - mean).square().mean(1) + rest).mean().sqrt() for row in counts]
        return torch.stack(found)


class KSJudge(Judge):
    """Sorts the coordinates of a set once; the suprema are at points of either set."""

    def __init__(self, metric: KS, real: Tensor) -> None:
        self.metric, self.event = metric, tuple(real.shape[1:])
        self.real = real.reshape(len(real), -1).T.contiguous().sort(dim=1).values

    def see(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The order of each coordinate; how many real points lie below and up to each; how many samples up to it."""
        line, order = x.reshape(len(x), -1).T.contiguous().sort(dim=1)
        below, upto = (torch.searchsorted(self.real, line, right=right) for right in (False, True))
        ties = torch.searchsorted(line, line, right=True)
        return order, below, upto, ties

    def scores(self, seen: tuple[Tensor, Tensor, Tensor, Tensor], counts: Tensor) -> Tensor:
        order, below, upto, ties = seen
        n, m = int(counts[0].sum()), self.real.shape[1]
        # P(sample <= c) at and just below each sample: between two samples only that of the data moves, monotonely
        found = []
        for row in counts:
            passed = torch.cat([row.new_zeros(len(order), 1), row[order].cumsum(1)], dim=1)
            at = passed.gather(1, ties)
            first = torch.searchsorted(ties, ties, right=False)
            before = passed.gather(1, first)
            high = (at.double() / n - upto.double() / m).abs().amax()
            low = (before.double() / n - below.double() / m).abs().amax()
            found.append(torch.maximum(high, low))
        return torch.stack(found)
