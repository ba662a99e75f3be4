"""The posterior mean of a cloud: centres with weights, each with the same round Gaussian around it, or none."""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROWS = 64 * 2**20  # bytes of the largest (rows, N) table: what a call takes beside its inputs is some five of them
SPARE = 1e-11  # an error of a log-weight that is let be
PLAIN = 8  # dimensions up to which distances are added up coordinate by coordinate


def posterior_mean(y: Tensor, sigma: Tensor, centres: Tensor, log_weights: Tensor, spread: float) -> Tensor:
    """E[x0 | x0 + sigma eps = y] for x0 ~ sum_k weight_k N(centre_k, spread^2): (B, D) from y (B, D), sigma (B,).

        r_k ~ weight_k exp(-|y - centre_k|^2 / 2 (spread^2 + sigma^2)),
        E = (spread^2 y + sigma^2 sum_k r_k centre_k) / (spread^2 + sigma^2)

    With spread = sigma = 0 the nearest centre (several at one distance share). All float64, centres (N, D).
    """
    parts, size = [], max(1, ROWS // (8 * max(1, len(centres))))
    for rows, noise in zip(y.split(size), sigma.split(size), strict=True):
        variance = spread * spread + noise * noise
        centre = responsibilities(rows, variance, centres, log_weights) @ centres
        if spread > 0.0:
            keep = (spread * spread / variance)[:, None]
            centre = keep * rows + (noise * noise / variance)[:, None] * centre
        parts.append(centre)
    return torch.cat(parts) if parts else y.clone()


def responsibilities(y: Tensor, variance: Tensor, centres: Tensor, log_weights: Tensor) -> Tensor:
    """(B, N): the posterior weights of the centres at y (B, D), with variance (B,) around each of them."""
    distance = distances(y, variance, centres)
    distance = distance - distance.amin(1, keepdim=True)
    still = (variance == 0.0)[:, None]
    logits = log_weights - distance / (2.0 * variance[:, None].masked_fill(still, 1.0))
    logits = torch.where(still, log_weights.masked_fill(distance > 0.0, -torch.inf), logits)
    return torch.softmax(logits, dim=1)


def distances(y: Tensor, variance: Tensor, centres: Tensor) -> Tensor:
    """|y - centre|^2 (B, N), so exact that no weight of exp(-distance / 2 variance) is wrong by more than SPARE.

    One product of matrices has an error of some eps (|y| + |centre|)^2. Where 2 variance is so small that this would
    show, the centres that can still count are measured again, by differences.
    """
    if y.shape[1] <= PLAIN:
        total = torch.zeros(len(y), len(centres), dtype=y.dtype, device=y.device)
        for column, other in zip(y.T, centres.T, strict=True):
            total += (column[:, None] - other[None, :]).square_()
        return total
    middle = centres.mean(0)
    away, around = y - middle, centres - middle
    here, there = away.square().sum(1), around.square().sum(1)
    table = torch.addmm(there[None, :] + here[:, None], away, around.T, alpha=-2.0)
    error = 8.0 * torch.finfo(y.dtype).eps * (here.sqrt() + there.max().sqrt()).square()
    rough = error > 2.0 * SPARE * variance
    if not bool(rough.any()):
        return table
    # exp(-45) N is below the last digit for N up to 1e4, and 1e-14 for a million
    reach = torch.where(rough, table.amin(1) + 90.0 * variance + 2.0 * error, -torch.inf)
    row, column = (table <= reach[:, None]).nonzero(as_tuple=True)
    for part in torch.arange(len(row), device=y.device).split(max(1, ROWS // (16 * y.shape[1]))):
        i, k = row[part], column[part]
        table[i, k] = (y[i] - centres[k]).square_().sum(1)
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
