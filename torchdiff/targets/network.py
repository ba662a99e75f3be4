"""The exact network of a target, under any linear SDE, from its posterior mean alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.linalg import solve_triangular
from torch import Tensor

from torchdiff.denoiser import PREDICTIONS, Denoiser
from torchdiff.errors import IncompatibleError, OptionError, shown
from torchdiff.registry import SDES
from torchdiff.sde.base import Level, LinearSDE

if TYPE_CHECKING:
    from torchdiff.targets.base import Target

WORDS = {True: PREDICTIONS, False: ("score", "eps", "mixed_score")}
CLOSE = 1e-6  # float32 times may round past t_max by 6e-8 of it


def exact_denoiser(target: Target, sde: LinearSDE | str, prediction: str | None = None) -> Denoiser:
    """See Target.denoiser."""
    process = SDES.get(sde)
    words = WORDS[process.blocks == 1]
    told = prediction if prediction is not None else ("v" if process.blocks == 1 else "score")
    if told not in words:
        raise OptionError(
            f"an exact network under {process!r} predicts {', '.join(words)}, got prediction = {shown(told)}"
        )
    meaning = Denoiser(None, told)
    return Denoiser(ExactNetwork(target, process, meaning), told)


class ExactNetwork:
    """net(x, t), for n blocks net(x, v, ..., t): blocks (B, *shape) of one floating dtype, t (B,); returns that dtype.

    One block: x0 = denoise(x / alpha, sigma / alpha), eps = (x - alpha x0) / sigma. More blocks: see Reading.
    Rows are at times of their own. Inside, all is float64; t is read as it came.
    """

    def __init__(self, target: Target, sde: LinearSDE, meaning: Denoiser) -> None:
        self.target, self.sde, self.meaning = target, sde, meaning

    def __repr__(self) -> str:
        return f"ExactNetwork({self.target!r}, {self.sde!r})"

    def __call__(self, *blocks_and_time: Tensor) -> Tensor:
        *blocks, t = blocks_and_time
        if len(blocks) != self.sde.blocks:
            raise IncompatibleError(
                f"the exact network of {self.sde!r} takes {self.sde.blocks} block(s) and t, got {len(blocks)} and t"
            )
        x = blocks[0]
        levels = self._levels(t)
        read = self._scalar if self.sde.blocks == 1 else self._blocks
        return read([block.double() for block in blocks], levels).to(x.dtype)

    def _levels(self, t: Tensor) -> list[Level]:
        """The level of each row, looked up once for each time; one level for all where they share it."""
        end, found = self.sde.t_max, {}
        times = t.double().tolist()
        for time in dict.fromkeys(times):
            found[time] = self.sde.level(min(time, end) if time <= end * (1.0 + CLOSE) else time)
        return [found[time] for time in (times[:1] if len(found) == 1 else times)]

    def _scalar(self, blocks: list[Tensor], levels: list[Level]) -> Tensor:
        x = blocks[0]
        alpha, sigma = (_column([level[i] for level in levels], x) for i in (1, 2))
        u, w = (_column([m[i] for m in map(self.meaning.meaning, levels)], x) for i in (0, 1))
        blind = alpha == 0.0
        y = (x / alpha.masked_fill(blind, 1.0)).masked_fill(blind, 0.0)
        ratio = (sigma / alpha).masked_fill(blind, torch.inf).reshape(-1).expand(len(x))
        shift = self.target.shift(y, ratio)
        still = sigma == 0.0  # there eps = -sigma score goes to 0 with sigma
        eps = (torch.where(blind, x, -alpha * shift) / sigma.masked_fill(still, 1.0)).masked_fill(still, 0.0)
        x0 = y + shift
        return u * x0 + w * eps

    def _blocks(self, blocks: list[Tensor], levels: list[Level]) -> Tensor:
        found = {level.t: reading(level) for level in dict.fromkeys(levels)}
        each = [found[level.t] for level in levels]
        for one, level in zip(each, levels, strict=True):
            if one is None:
                raise IncompatibleError(
                    f"{self.sde!r} has no score at t = {level.t:g}, where its last block has no noise"
                )
        rows = [[*one.centre, *one.rest, one.noise, one.pull] for one in each if one is not None]
        n, z = len(blocks), torch.stack(blocks, dim=1)
        table = torch.tensor(rows, dtype=torch.float64).reshape(len(rows), 2 * n + 2)
        centre, rest, noise, pull = (
            part.reshape(*part.shape, *[1] * (z.dim() - 2)) for part in table.to(z).split([n, n, 1, 1], dim=1)
        )
        shift = self.target.shift((centre * z).sum(1), noise.reshape(-1).expand(len(z)))
        score = pull[:, 0] * shift - (rest * z).sum(1)
        own, scale = (_column([m[i] for m in map(self.meaning.meaning, levels)], score) for i in (0, 1))
        return (score - own * blocks[-1]) / scale


class Reading(NamedTuple):
    """How the blocks z = a x0 + N(0, S) at a level say x0, and what of them does not depend on it; floats.

    centre (n,): y = centre . z, all that z says of x0: y = x0 + noise eps, with 1 / noise^2 = a . S^-1 a.
    rest (n,), pull: log p(z) = log p_noise(y) + log N(Q z; 0, Q S Q^T) for any Q of n - 1 rows that takes a to 0, so

        score of the last block = pull (E[x0 | y] - y) - rest . z,   pull = (S^-1 a)_n,
        rest = last row of Q^T (Q S Q^T)^-1 Q

    Nothing cancels near the data, as it does in S^-1 (z - a E[x0 | z]): Q S Q^T is regular where S is not, and E - y is
    the target's own `shift`.
    """

    centre: tuple[float, ...]
    rest: tuple[float, ...]
    noise: float
    pull: float


def reading(level: Level) -> Reading | None:
    """None where the last block has no noise beside that in x0."""
    a, factor = np.array(level.alpha)[:, 0], np.array(level.sigma)
    n, j = len(a), int(np.abs(a).argmax())
    q = np.zeros((n - 1, n))
    for row, i in enumerate(i for i in range(n) if i != j):
        q[row, i], q[row, j] = a[j], -a[i]
    upper = np.asarray(np.linalg.qr((q @ factor).T, mode="r"))  # (Q L)(Q L)^T = R^T R without squares
    if not np.all(np.diag(upper) != 0.0):
        return None
    half = solve_triangular(upper.T, q, lower=True)
    rest = tuple(half.T @ half[:, -1])
    if factor[0, 0] == 0.0:  # t = 0: the first block is x0
        return Reading((1.0 / a[0], *[0.0] * (n - 1)), rest, 0.0, 0.0)
    w = solve_triangular(factor, a, lower=True)
    precision = float(w @ w)
    if precision == 0.0:
        return Reading((0.0,) * n, rest, math.inf, 0.0)
    along = solve_triangular(factor.T, w)
    return Reading(tuple(along / precision), rest, precision**-0.5, float(along[-1]))


def _column(values: list[float], x: Tensor) -> Tensor:
    """(B,) numbers as what multiplies x (B, *shape)."""
    return torch.tensor(values, dtype=torch.float64, device=x.device).reshape(-1, *[1] * (x.dim() - 1))
