"""Dormand and Prince's pair on a batch in which every sample has its own times, errors and step sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from torchdiff import ops
from torchdiff.blocks import pack, unpack
from torchdiff.clocks import Clock
from torchdiff.sde.base import Level, LinearSDE

Velocity = Callable[[Any, Sequence[float]], Any]  # (state (B, *event), the time of each sample) -> its dx/dt

NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
STAGES = (  # the last row is the fifth-order step, at whose end the next one starts
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR = (-71 / 57600, 0.0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40)  # fourth order minus fifth


def flow(predict: Any, sde: LinearSDE, start: Level, end: Level) -> Velocity:
    """predict.flow, or what does the same, sample by sample, with a predict function that has none."""
    if hasattr(predict, "flow"):
        return predict.flow(start, end)

    def velocity(x: Any, times: Sequence[float]) -> Any:
        rows = [pack(b[i : i + 1] for b in unpack(x)) for i in range(len(times))]
        each = [unpack(predict(row, sde.level(t)).velocity) for row, t in zip(rows, times, strict=True)]
        return pack(map(torch.cat, zip(*each, strict=True)))

    return velocity


def integrate(velocity: Velocity, x: Any, start: float, end: float, rtol: float, atol: float) -> Any:
    """x at `end` from x (B, *event) at `start`, one tensor or Blocks; sums in float64, the result in x's dtype.

    velocity: called with float64 states; a sample that has arrived is given where it ended. A sample whose error is not
    finite ends as nan. Derivatives are those of the steps that were accepted.
    Raises StepSizeError where a step would have to be shorter than 10 ulp of its time.
    """
    dtype = unpack(x)[0].dtype
    state = [b.to(torch.float64) for b in unpack(x)]
    batch = state[0].shape[0]
    if batch == 0:
        return x
    clocks = [Clock(i, start, end) for i in range(batch)]
    slope = list(unpack(velocity(pack(state), [start] * batch)))
    _first_steps(velocity, state, slope, clocks, rtol, atol)
    state = _choose(clocks, state, state)
    while any(clock.running for clock in clocks):
        h = [clock.propose() for clock in clocks]
        slopes, point = [slope], state
        for node, row in zip(NODES[1:], STAGES[1:], strict=True):
            point = _sum(state, slopes, h, row)
            times = [clock.at(node) for clock in clocks]
            slopes.append(list(unpack(velocity(pack(point), times))))
        errors = _errors(state, point, slopes, h, rtol, atol)
        for clock, error in zip(clocks, errors, strict=True):
            clock.judge(error, rtol, atol)
        state = _choose(clocks, state, point)
        slope = _choose(clocks, slope, slopes[-1])
    return pack(b.to(dtype) for b in state)


def _first_steps(
    velocity: Velocity, state: list[Tensor], slope: list[Tensor], clocks: list[Clock], rtol: float, atol: float
) -> None:
    """The length of each sample's first step, from sizes of the state, the slope, and its change over a trial step."""
    scales = [b.detach().abs() * rtol + atol for b in state]
    sizes = _rms(state, scales), _rms(slope, scales)
    h = [clock.probe(d0, d1) for clock, d0, d1 in zip(clocks, *sizes, strict=True)]
    ahead = unpack(velocity(pack(_sum(state, [slope], h, (1.0,))), [clock.at(1.0) for clock in clocks]))
    bends = _rms([a - b for a, b in zip(ahead, slope, strict=True)], scales)
    for clock, d1, bend in zip(clocks, sizes[1], bends, strict=True):
        clock.begin(d1, bend)


def _sum(state: list[Tensor], slopes: list[list[Tensor]], h: list[float], row: Sequence[float]) -> list[Tensor]:
    """state + h * sum_j row[j] * slopes[j], a block at a time."""
    table = torch.tensor([[[1.0, *(step * a for a in row)]] for step in h], dtype=torch.float64)
    return _affine([[b, *(slope[i] for slope in slopes)] for i, b in enumerate(state)], table)


def _errors(
    state: list[Tensor], new: list[Tensor], slopes: list[list[Tensor]], h: list[float], rtol: float, atol: float
) -> list[float]:
    """The rms of each sample's estimated error over what is allowed."""
    with torch.no_grad():
        table = torch.tensor([[[step * e for e in ERROR]] for step in h], dtype=torch.float64)
        errors = _affine([[slope[i] for slope in slopes] for i in range(len(state))], table)
        scales = [torch.maximum(a.abs(), b.abs()) * rtol + atol for a, b in zip(state, new, strict=True)]
        return _rms(errors, scales)


def _affine(tensors: list[list[Tensor]], table: Tensor) -> list[Tensor]:
    device = tensors[0][0].device
    none, weights = torch.empty(0, dtype=torch.int64, device=device), table.to(device)
    return [ops.affine(each, weights, none, 0, none)[0] for each in tensors]


def _rms(blocks: Sequence[Tensor], scales: Sequence[Tensor]) -> list[float]:
    """rms over all elements of all blocks of block / scale, for each sample; its bits do not depend on the batch."""
    with torch.no_grad():
        none = torch.empty(0, dtype=torch.int64, device=blocks[0].device)
        norms = ops.norms([b.detach() / s for b, s in zip(blocks, scales, strict=True)], none, 0, none).tolist()
    count = max(1, len(blocks) * math.prod(blocks[0].shape[1:]))
    return [math.hypot(*row) / math.sqrt(count) for row in norms]


def _choose(clocks: list[Clock], old: list[Tensor], new: list[Tensor]) -> list[Tensor]:
    """The new tensors for samples that moved, nan for those that are lost, the old ones for the rest."""
    shape = (len(clocks), *[1] * (old[0].dim() - 1))
    moved = torch.tensor([clock.moved for clock in clocks], device=old[0].device).view(shape)
    chosen = [torch.where(moved, b, a) for a, b in zip(old, new, strict=True)]
    if any(clock.lost for clock in clocks):
        lost = torch.tensor([clock.lost for clock in clocks], device=old[0].device).view(shape)
        chosen = [b.masked_fill(lost, math.nan) for b in chosen]
    return chosen
