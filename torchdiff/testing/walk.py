"""A solver on tensors, straight from the driver and without a plan, with each of its steps watched."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from torchdiff.blocks import pack, unpack
from torchdiff.denoiser import Denoiser
from torchdiff.drive import drive
from torchdiff.drive import take as take_step
from torchdiff.planner import Request
from torchdiff.predict import read
from torchdiff.sde.base import Level
from torchdiff.solvers.base import Carry, Solver, Span

Key = tuple[int, int, int, int]  # step, part, call, block: the name of one draw
Normals = Callable[[Key], Tensor]


@dataclass
class Step:
    """What one step of one part did: network calls, draws, whether it remembered, and what it did wrong."""

    part: Solver
    index: int  # its place in the solver's parts
    ours: bool  # False where the driver took another formula in its place
    calls: int = 0
    draws: int = 0
    memo: bool = False
    wrote: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)


@dataclass
class Walk:
    """The blocks at the end, and the steps."""

    state: tuple[Tensor, ...]
    steps: list[Step]

    def of(self, count: int) -> list[Step]:
        """The steps that the first `count` parts took themselves."""
        return [step for step in self.steps if step.ours and step.index < count]


def normal(shape: Sequence[int], key: Key, dtype: torch.dtype) -> Tensor:
    """Standard normals of a key, (B, *event): float64 from a generator of their own, then rounded."""
    generator = torch.Generator().manual_seed(zlib.crc32(repr(key).encode()))
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float64).to(dtype)


def field_of(*inputs: Tensor) -> Tensor:
    """A network that is not linear, with bounded slope, and looks at each element alone."""
    *blocks, t = inputs
    time = t.reshape(-1, *[1] * (blocks[0].dim() - 1))
    return 0.3 * torch.tanh(torch.stack(blocks).sum(0)) - 0.5 * blocks[-1] + 0.1 * torch.cos(3.0 * time)


def begin(wish: Request, normals: Normals) -> Any:
    """The state to start from: the prior of the first level, of the draws of step -1."""
    blocks = range(wish.sde.blocks)
    return wish.sde.prior(wish.grid[0].t) @ pack(normals((-1, 0, 0, block)) for block in blocks)


def walk(
    wish: Request,
    denoiser: Denoiser,
    normals: Normals,
    x: Any = None,
    *,
    forget: bool = False,
    after: Callable[[int, Any], None] | None = None,
) -> Walk:
    """Run the solver of a wish, on x or from the prior. forget: each part remembers one memo less than it declares."""
    x = begin(wish, normals) if x is None else x
    steps: list[Step] = []
    parts = wish.solver.parts()
    size, dtype = unpack(x)[0].shape, unpack(x)[0].dtype

    def predict(x: Any, level: Level) -> Any:
        scale, step = denoiser.scale(level), steps[-1]
        step.calls += 1
        outputs = denoiser(*(block * scale if scale != 1.0 else block for block in unpack(x)), level)
        kept.extend((f"network output {step.calls}", out, out._version) for out in outputs)
        return read(wish.sde, denoiser, x, outputs, level)

    def source(step: int, part: int) -> Callable[[Level, Level], Any]:
        def draw(start: Level, end: Level) -> Any:
            call, steps[-1].draws = steps[-1].draws, steps[-1].draws + 1
            fresh = [normals((step, part, call, block)) for block in range(wish.sde.blocks)]
            kept.extend((f"draw {call + 1}", z, z._version) for z in fresh)
            return pack(fresh)

        return draw

    kept: list[tuple[str, Tensor, int]] = []

    def take(part: Solver, index: int, x: Any, span: Span, predict: Any, noise: Any) -> Carry:
        if forget and part is parts[index]:
            span = span._replace(past=span.past[: max(part.memory - 1, 0)])
        step = Step(part, index, part is parts[index])
        steps.append(step)
        kept[:] = [("x", block, block._version) for block in unpack(x)]
        kept.extend(("its past", tensor, tensor._version) for tensor in _tensors(span.past))
        carry = take_step(part, index, x, span, predict, noise)
        step.memo = carry.memo is not None
        step.wrote += [name for name, tensor, version in kept if tensor._version != version]
        blocks = unpack(carry.x)
        if len(blocks) != wish.sde.blocks:
            step.shapes.append(f"{len(blocks)} block(s)")
        for block in blocks:
            got = (tuple(block.shape), block.dtype) if isinstance(block, Tensor) else type(block).__name__
            if got != (tuple(size), dtype):
                step.shapes.append(f"{got[0]} {got[1]}" if isinstance(got, tuple) else got)
        return carry

    end = drive(wish.solver, wish.sde, wish.grid, x, predict, source, final=wish.final, take=take, after=after)
    return Walk(unpack(end), steps)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    return [t for part in value for t in _tensors(part)] if isinstance(value, tuple | list) else []
