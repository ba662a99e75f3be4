"""A denoiser around another one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from torchdiff import ops
from torchdiff.denoiser import Denoiser
from torchdiff.errors import OptionError, shown
from torchdiff.latent import Latent
from torchdiff.sde.base import Level


class Wrapper(ABC):
    """A denoiser made of another one. It has the methods of `Denoiser`, so no solver knows of it.

    Subclasses are frozen dataclasses whose first field is `inner`, a Denoiser or a Wrapper. They say what outputs they
    give (`outputs`), how those add up to one (`mixes`), and, where it differs from that of `inner`, what it means.
    """

    inner: Any

    @property
    def prediction(self) -> str:
        return self.inner.prediction

    @property
    def convention(self) -> Any:
        return self.inner.convention

    @property
    def net(self) -> Any:
        return self.inner.net

    @property
    def cond(self) -> Mapping[str, Any]:
        return self.inner.cond

    @property
    def latent(self) -> Latent | None:
        return self.inner.latent

    @property
    def cores(self) -> tuple[Denoiser, ...]:
        return self.inner.cores

    def bind(self, cond: Mapping[str, Any]) -> Any:
        """The same with these conditions passed to the network at each call."""
        return replace(self, inner=self.inner.bind(cond))  # pyright: ignore[reportArgumentType, reportCallIssue]

    def meaning(self, level: Level) -> tuple[float, float]:
        return self.inner.meaning(level)

    def mix(self, level: Level) -> tuple[float, ...]:
        return self.mixes((level,))[0]

    def scale(self, level: Level) -> float:
        return self.inner.scale(level)

    def label(self, level: Level) -> float:
        return self.inner.label(level)

    @abstractmethod
    def mixes(self, levels: Sequence[Level]) -> list[tuple[float, ...]]:
        """The weights of the outputs for samples at these levels, as many for each; with one level, `mix`."""

    @abstractmethod
    def outputs(
        self,
        blocks: Sequence[Tensor],
        level: Level,
        times: Tensor,
        levels: Sequence[Level] | None = None,
        cond: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, ...]:
        """The outputs that `mixes` weighs, and what the network tells beside them, each (B, *event).

        levels: where each sample has its own. cond: for the network, in the place of its own.
        """

    def ask(
        self, blocks: Sequence[Tensor], level: Level, times: Tensor, levels: Sequence[Level] | None = None
    ) -> tuple[Tensor, ...]:
        """The outputs that `mixes` weighs."""
        return self.outputs(blocks, level, times, levels)[: len(self.mixes(levels or (level,))[0])]

    __call__ = Denoiser.__call__  # the outputs at the time that `label` says


def denoiser(name: str, value: Any) -> Any:
    """The value if it is a denoiser. Raises OptionError for a bare network, whose meaning nobody has said."""
    if not (hasattr(value, "meaning") and hasattr(value, "mixes")):
        raise OptionError(
            f"{name} is what torchdiff.wrap(net, prediction) returns, or another guidance; got {shown(value)}"
        )
    return value


def column(numbers: Sequence[float], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Numbers (1,) or (B,) as a tensor that multiplies (B, *event), of the dtype of `like` or another one."""
    return torch.tensor(numbers, dtype=dtype or like.dtype, device=like.device).view(-1, *[1] * (like.dim() - 1))


def scaled(blocks: Sequence[Tensor], scales: Sequence[float]) -> Sequence[Tensor]:
    """The blocks times one number, or one a sample; themselves where that is 1."""
    if all(scale == 1.0 for scale in scales):
        return blocks
    return [block * (scales[0] if len(scales) == 1 else column(scales, block)) for block in blocks]


def added(tensors: Sequence[Tensor], rows: Sequence[Sequence[float]]) -> Tensor:
    """sum_j row[j] tensors[j], (B, *event) of tensors[0]'s dtype; one row for all samples, or one a sample. One op."""
    device = tensors[0].device
    none = torch.empty(0, dtype=torch.int64, device=device)
    table = torch.tensor(rows, dtype=torch.float64, device=device)
    return ops.affine(list(tensors), table if len(rows) == 1 else table.unsqueeze(1), none, 0, none)[0]


def beside(
    other: Any, own: Any, blocks: Sequence[Tensor], level: Level, times: Tensor, levels: Sequence[Level] | None
) -> tuple[Tensor, ...]:
    """The outputs of another denoiser at the state that `own` was fed with: its input scale and its time are others."""
    each = levels or (level,)
    fed = scaled(blocks, [other.scale(at) / own.scale(at) for at in each])
    labels = torch.tensor([other.label(at) for at in each], dtype=times.dtype, device=times.device)
    return other.outputs(fed, level, labels.expand(len(times)).contiguous(), levels)
