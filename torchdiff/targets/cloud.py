"""The posterior mean of a cloud: centres with weights, each with the same round Gaussian around it, or none."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

ROWS = 64 * 2**20  # bytes of the largest (rows, N) table: what a call takes beside its inputs is some three of them
SPARE = 1e-11  # an error of a log-weight that is let be


class Cloud(NamedTuple):
    """centres (N, D), log_weights (N,), spread around each; middle, and the centres and their squares seen from it."""

    centres: Tensor
    log_weights: Tensor
    spread: float
    middle: Tensor
    around: Tensor
    squares: Tensor

    @classmethod
    def of(cls, centres: Tensor, weights: Tensor, spread: float) -> Cloud:
        middle = centres.mean(0)
        around = centres - middle
        return cls(centres, weights.log(), spread, middle, around, around.square().sum(1))

    def to(self, device: torch.device) -> Cloud:
        return self._make(part.to(device) if isinstance(part, Tensor) else part for part in self)

    def posterior_mean(self, y: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x0 + sigma eps = y] for x0 ~ sum_k weight_k N(centre_k, spread^2): (B, D) from y (B, D), sigma (B,).

            r_k ~ weight_k exp(-|y - centre_k|^2 / 2 (spread^2 + sigma^2)),
            E = (spread^2 y + sigma^2 sum_k r_k centre_k) / (spread^2 + sigma^2)

        With spread = sigma = 0 the nearest centre (several at one distance share). All float64.
        """
        return self._pieces(y, sigma, 0.0)

    def posterior_shift(self, y: Tensor, sigma: Tensor) -> Tensor:
        """posterior_mean - y = sigma^2 (sum_k r_k centre_k - y) / (spread^2 + sigma^2)."""
        return self._pieces(y, sigma, 1.0)

    def _pieces(self, y: Tensor, sigma: Tensor, less: float) -> Tensor:
        """posterior_mean - less * y, some rows at a time."""
        parts, size = [], max(1, ROWS // (8 * len(self.centres)))
        for rows, noise in zip(y.split(size), sigma.split(size), strict=True):
            variance = self.spread**2 + noise * noise
            away = self.responsibilities(rows, variance) @ self.centres
            if self.spread > 0.0:
                own, fresh = (part[:, None] for part in (self.spread**2 / variance, noise * noise / variance))
                away = fresh * (away - rows) if less else fresh * away + own * rows
            elif less:
                away = away - rows
            parts.append(away)
        return torch.cat(parts) if parts else y.clone()

    def responsibilities(self, y: Tensor, variance: Tensor) -> Tensor:
        """(B, N): the posterior weights of the centres at y (B, D), with variance (B,) around each of them."""
        table = self.excess(y, variance)
        still = (variance == 0.0)[:, None]
        logits = table.div_(variance[:, None].masked_fill(still, 1.0)).mul_(-0.5)
        if bool(still.any()):
            logits.masked_fill_(still & (logits < logits.amax(1, keepdim=True)), -torch.inf)
        return torch.softmax(logits.add_(self.log_weights), dim=1)

    def excess(self, y: Tensor, variance: Tensor) -> Tensor:
        """|y - centre_k|^2 - |y - centre_j|^2 (B, N) for a nearest centre j of each row, up to a number for each row.

        One product of matrices has an error of some eps (|y| + |centre|)^2. Where 2 variance is so small that a weight
        of exp(-excess / 2 variance) would be wrong by more than SPARE, the centres that can still count are measured
        again, by (centre_j - centre_k) . ((y - centre_k) + (y - centre_j)): nothing cancels but what y itself leaves.
        The others count as infinitely far.
        """
        away = y - self.middle
        here = away.square().sum(1)
        table = torch.addmm(self.squares[None, :] + here[:, None], away, self.around.T, alpha=-2.0)
        error = 8.0 * torch.finfo(y.dtype).eps * (here.sqrt() + self.squares.max().sqrt()).square()
        rough = error > 2.0 * SPARE * variance
        if not bool(rough.any()):
            return table
        least, nearest = table.min(1)
        # exp(-45) N is below the last digit for N up to 1e4, and 1e-14 for a million
        reach = torch.where(rough, least + 90.0 * variance + 2.0 * error, -torch.inf)
        row, column = (table <= reach[:, None]).nonzero(as_tuple=True)
        table.masked_fill_(rough[:, None], torch.inf)
        for part in torch.arange(len(row), device=y.device).split(max(1, ROWS // (32 * y.shape[1]))):
            i, k = row[part], column[part]
            other, this, point = self.centres[nearest[i]], self.centres[k], y[i]
            table[i, k] = ((other - this) * ((point - this) + (point - other))).sum(1)
        return table


def uniform(count: int, columns: int, seed: object, first_index: int, call: int) -> Tensor:
    """(count, columns) float64 in (0, 1), by the normal distribution function: a function of (seed, index, call)."""
    from torchdiff.noise import USER, draw_number, normal

    z = normal((count, columns), seed=seed, first_index=first_index, draw=draw_number(USER, call=call),  # pyright: ignore[reportArgumentType]
               dtype=torch.float64, device="cpu")  # fmt: skip
    return 0.5 * torch.erfc(-z / math.sqrt(2.0))


def normals(count: int, columns: int, seed: object, first_index: int, call: int) -> Tensor:
    """(count, columns) float64 standard normals: a function of (seed, index, call)."""
    from torchdiff.noise import USER, draw_number, normal

    return normal((count, columns), seed=seed, first_index=first_index, draw=draw_number(USER, call=call),  # pyright: ignore[reportArgumentType]
                  dtype=torch.float64, device="cpu")  # fmt: skip


def choose(weights: Tensor, count: int, seed: object, first_index: int) -> Tensor:
    """(count,) int64: a component for each sample, in the proportions of weights (N,)."""
    edges = weights.cumsum(0)
    u = uniform(count, 1, seed, first_index, call=0)[:, 0]
    return torch.searchsorted(edges, u * edges[-1], right=True).clamp(max=len(weights) - 1)
