"""The exact network of a target, under any linear SDE, from its posterior mean alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchdiff.denoiser import PREDICTIONS, Denoiser
from torchdiff.errors import IncompatibleError, OptionError, shown
from torchdiff.registry import SDES
from torchdiff.sde.base import Level, LinearSDE

if TYPE_CHECKING:
    from torchdiff.targets.base import Target

WORDS = {True: tuple(word for word in PREDICTIONS), False: ("score", "eps", "mixed_score")}
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

    With z = a x0 + N(0, S) in the n blocks, a the first column of alpha and S = L L^T, L = sigma lower triangular, put
    w = L^-1 a. The likelihood of x0 has the precision p = w . w and the centre y = w . L^-1 z / p, so that

        E[x0 | z] = denoise(y, p^-1/2)        score of the last block = -(L^-1 (z - a E[x0 | z]))_n / L_nn

    for L^-T is upper triangular. Rows are at times of their own. Inside, all is float64; t is read as it came.
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
        """The level of each row, looked up once for each time."""
        end, found = self.sde.t_max, {}
        times = t.double().tolist()
        for time in times:
            if time not in found:
                found[time] = self.sde.level(min(time, end) if time <= end * (1.0 + CLOSE) else time)
        return [found[time] for time in times]

    def _scalar(self, blocks: list[Tensor], levels: list[Level]) -> Tensor:
        x = blocks[0]
        alpha, sigma = (_column([level[i] for level in levels], x) for i in (1, 2))
        u, w = (_column([m[i] for m in map(self.meaning.meaning, levels)], x) for i in (0, 1))
        blind = alpha == 0.0
        y = torch.where(blind, torch.zeros_like(x), x / alpha.masked_fill(blind, 1.0))
        ratio = (sigma / alpha).masked_fill(blind, torch.inf).reshape(-1)
        x0 = self.target.denoise(y, ratio)
        still = sigma == 0.0  # there eps = -sigma score goes to 0 with sigma
        eps = ((x - alpha * x0) / sigma.masked_fill(still, 1.0)).masked_fill(still, 0.0)
        return u * x0 + w * eps

    def _blocks(self, blocks: list[Tensor], levels: list[Level]) -> Tensor:
        x, n = blocks[0], len(blocks)
        factor = [[_column([level.sigma[i][j] for level in levels], x) for j in range(i + 1)] for i in range(n)]
        along = [_column([level.alpha[i][0] for level in levels], x) for i in range(n)]
        last = factor[-1][-1]
        if bool((last == 0.0).any()):
            t = levels[int((last == 0.0).flatten().int().argmax())].t
            raise IncompatibleError(f"{self.sde!r} has no score at t = {t:g}, where its last block has no noise")
        # near the data x / a says x0 to nearly all digits: what the other blocks add to it keeps its own
        near = along[0].abs() > factor[0][0]
        guess = torch.where(near, x / along[0].masked_fill(~near, 1.0), torch.zeros_like(x))
        w, u = _substitute(factor, along), _substitute(factor, _less(blocks, along, guess))
        known = factor[0][0] == 0.0  # at t = 0 the first block has no noise
        precision = torch.stack(w).square().sum(0)
        blind = known | (precision == 0.0)
        centre = guess + ((torch.stack(w) * torch.stack(u)).sum(0) / precision).masked_fill(blind, 0.0)
        noise = (precision**-0.5).masked_fill(known, 0.0).reshape(-1)
        x0 = self.target.denoise(centre, noise)
        score = -_substitute(factor, _less(blocks, along, x0))[-1] / last
        own, scale = (_column([m[i] for m in map(self.meaning.meaning, levels)], x) for i in (0, 1))
        return (score - own * blocks[-1]) / scale


def _less(blocks: list[Tensor], along: list[Tensor], x0: Tensor) -> list[Tensor]:
    return [block - a * x0 for block, a in zip(blocks, along, strict=True)]


def _substitute(factor: list[list[Tensor]], right: list[Tensor]) -> list[Tensor]:
    """L^-1 right, block by block; a block that has no noise of its own, a zero pivot, counts as 0."""
    solved: list[Tensor] = []
    for row, value in zip(factor, right, strict=True):
        rest = value
        for weight, earlier in zip(row, solved, strict=False):
            rest = rest - weight * earlier
        still = row[-1] == 0.0
        solved.append((rest / row[-1].masked_fill(still, 1.0)).masked_fill(still, 0.0))
    return solved


def _column(values: list[float], x: Tensor) -> Tensor:
    """(B,) numbers as what multiplies x (B, *shape)."""
    return torch.tensor(values, dtype=torch.float64, device=x.device).reshape(-1, *[1] * (x.dim() - 1))
