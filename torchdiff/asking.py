"""How a step on tensors asks the network: for all samples at one level, or for each at a time of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchdiff import ops
from torchdiff.blocks import pack, unpack
from torchdiff.denoiser import Denoiser, clock
from torchdiff.errors import IncompatibleError
from torchdiff.form import Form
from torchdiff.predict import read, reading
from torchdiff.sde.base import Level, LinearSDE


class Times(NamedTuple):
    """The times of one network call, one a sample: what a guard sees in the place of a level."""

    t: tuple[float, ...]
    levels: tuple[Level, ...]


class Reading(NamedTuple):
    """What a sample needs of its level: the network's time and input scale, and the weights of its velocity."""

    level: Level
    label: float
    scale: float
    rows: list[list[float]]  # (blocks, blocks + 1): dx/dt as a sum of x and the network's outputs, mixed to one


class Ask:
    """predict(x, level) of a step on tensors, and predict.flow(start, end) for each sample at a time of its own.

    call(inputs, level, times, seen): the network's outputs in the dtype of the state, looked at; times (B,) are given
    where each sample has its own, and seen then says which. calls counts them.
    """

    def __init__(self, sde: LinearSDE, denoiser: Denoiser, call: Callable[..., Sequence[Tensor]], dtype: torch.dtype):
        self.sde, self.denoiser, self.call, self.dtype, self.calls = sde, denoiser, call, dtype, 0

    def __call__(self, x: Any, level: Level) -> Any:
        self.calls += 1
        scale = self.denoiser.scale(level)
        fed = [b * scale if scale != 1.0 else b for b in unpack(x)]
        return read(self.sde, self.denoiser, x, tuple(self.call(fed, level)), level)

    def flow(self, start: Level, end: Level) -> Callable[[Any, Sequence[float]], Any]:
        """(x, times) -> dx/dt of the probability flow, in float64; times: one a sample, between the two levels.

        Raises IncompatibleError, before any network call, where the flow is infinite or the network says nothing at
        one of the two.
        """
        if type(self.denoiser).__call__ is not Denoiser.__call__:
            raise IncompatibleError(
                f"{type(self.denoiser).__name__} calls its network in a way of its own, at one level for all samples; "
                f"a solver with a time for each sample needs it to do that in ask(blocks, level, times)"
            )
        ends = {level.t: self._read(level) for level in (start, end)}

        def velocity(x: Any, times: Sequence[float]) -> Any:
            self.calls += 1
            known = dict(ends)
            for t in times:
                if t not in known:
                    known[t] = self._read(self.sde.level(t))
            return self._velocity(x, [known[t] for t in times])

        return velocity

    def _velocity(self, x: Any, readings: list[Reading]) -> Any:
        blocks = unpack(x)
        device = blocks[0].device
        none = torch.empty(0, dtype=torch.int64, device=device)
        if any(reading.scale != 1.0 for reading in readings):
            scales = torch.tensor([[[reading.scale]] for reading in readings], dtype=torch.float64, device=device)
            fed = [ops.affine([b], scales, none, 0, none)[0].to(self.dtype) for b in blocks]
        else:
            fed = [b.to(self.dtype) for b in blocks]
        like = clock(fed[0])
        labels = torch.tensor([reading.label for reading in readings], dtype=like.dtype, device=device)
        levels = tuple(reading.level for reading in readings)
        outputs = self.call(fed, levels[0], labels, Times(tuple(level.t for level in levels), levels))
        mixed = zip(readings, self.denoiser.mixes(levels), strict=True)
        table = [[[*row[:-1], *(row[-1] * weight for weight in mix)] for row in reading.rows] for reading, mix in mixed]
        rows = torch.tensor(table, dtype=torch.float64, device=device)
        return pack(ops.affine([*blocks, *outputs], rows, none, 0, none))

    def _read(self, level: Level) -> Reading:
        """The coefficients at a level: the formula run on linear forms, as a plan is made."""
        columns = range(self.sde.blocks + 1)
        *state, output = [Form.column(key) for key in columns]
        velocity = reading(self.sde, self.denoiser, pack(state), output, level).velocity
        rows = [[form.terms.get(key, 0.0) for key in columns] for form in unpack(velocity)]
        if not all(math.isfinite(weight) for row in rows for weight in row):
            raise IncompatibleError(
                f"the probability flow of {self.sde!r} is infinite at t = {level.t:g}; "
                f"keep away from there by t_max, t_min"
            )
        return Reading(level, self.denoiser.label(level), self.denoiser.scale(level), rows)
