"""The exact map of a step on tensors that is linear in x and its noise, on Gaussian data with the exact score.

What `gaussian.push` does to a plan, for solvers that have none: the batch holds a unit start and unit draws.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchdiff import gaussian
from torchdiff.blocks import pack
from torchdiff.denoiser import Denoiser
from torchdiff.planner import Request
from torchdiff.sde.base import Level, LinearSDE
from torchdiff.testing.walk import Key, walk

CLOSE = 1e-9  # of what a linear map gives for a sum: far above rounding, far below any nonlinearity


def push(wish: Request, prediction: str, variance: Any, mean: Any) -> gaussian.Affine | None:
    """The affine map of a run, per eigenvalue; None where the run is not linear."""
    var, center = gaussian.data(variance, mean)
    size, count = wish.sde.blocks, var.size
    denoiser = Exact(_Exact(wish.sde, var, center), prediction)
    keys: dict[Key, int] = {}

    def name(key: Key) -> Tensor:
        keys.setdefault(key, len(keys))
        return torch.zeros(1, count, dtype=torch.float64)

    walk(wish, denoiser, name, pack(torch.zeros(1, count, dtype=torch.float64) for _ in range(size)))
    width = size + len(keys)
    probe = [math.sin(1.0 + i) for i in range(width)]  # a start and noise of which the map of a sum is known

    def column(place: int) -> Tensor:
        rows = torch.zeros(width + 2, count, dtype=torch.float64)  # the zero row, the unit rows, the probe
        rows[1 + place], rows[-1] = 1.0, probe[place]
        return rows

    found = walk(wish, denoiser, lambda key: column(size + keys[key]), pack(map(column, range(size))))
    rows = torch.stack(found.state, dim=-1).numpy().transpose(1, 0, 2)  # (K, rows, n)
    shift, unit = rows[:, 0], rows[:, 1:-1] - rows[:, :1]
    wanted = np.einsum("i,kij->kj", np.array(probe), unit)
    if not np.abs(rows[:, -1] - shift - wanted).max() <= CLOSE * max(1.0, np.abs(unit).max()):
        return None
    matrix, fresh = unit[:, :size].transpose(0, 2, 1), unit[:, size:].transpose(0, 2, 1)
    return gaussian.Affine(matrix, shift, fresh @ fresh.transpose(0, 2, 1))


class Exact(Denoiser):
    """A denoiser whose network gets the level, for it knows the law there."""

    def __call__(self, *blocks_and_level: Any) -> tuple[Any, ...]:
        *blocks, level = blocks_and_level
        assert isinstance(self.net, _Exact)
        return (self.net(blocks, level, self.meaning(level)),)


class _Exact:
    """The exact network for N(center, var), one eigenvalue a column."""

    def __init__(self, sde: LinearSDE, var: Any, center: Any) -> None:
        self.sde, self.var, self.center = sde, var, center

    def __call__(self, blocks: Any, level: Level, meaning: tuple[float, ...]) -> Tensor:
        law = gaussian.marginal(self.sde, level, self.var, self.center)
        away = [block - torch.from_numpy(mean.copy()) for block, mean in zip(blocks, law.mean.T, strict=True)]
        if level.scalar:  # E[x0 | x] and E[eps | x] of a normal law
            (u, w), (_, alpha, sigma) = meaning, level
            gain = (u * alpha * self.var + w * sigma) / law.cov[:, 0, 0]
            return away[0] * torch.from_numpy(gain) + torch.from_numpy(u * self.center)
        gains = -np.linalg.inv(law.cov)[:, -1, :]
        terms = [block * torch.from_numpy(gain.copy()) for block, gain in zip(away, gains.T, strict=True)]
        own, factor = meaning
        return (torch.stack(terms).sum(0) - own * blocks[-1]) / factor
