"""One execution of a plan on tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from torchdiff import ops
from torchdiff.asking import Ask, Times
from torchdiff.blocks import unpack
from torchdiff.counters import PRIOR, STEP, draw_number
from torchdiff.denoiser import Denoiser, clock
from torchdiff.draws import Draws, Fresh
from torchdiff.drive import remember, take
from torchdiff.errors import NetworkError, PlanError
from torchdiff.execute import execute
from torchdiff.guard import Guard
from torchdiff.inputs import Place, prior
from torchdiff.plans import Plan
from torchdiff.program import Program, program
from torchdiff.remembered import labels
from torchdiff.sde.base import Level
from torchdiff.solvers.base import Noise
from torchdiff.steps import AffineStep, OpaqueStep
from torchdiff.strides import strides
from torchdiff.walk import walk


class Run:
    """A plan with its weights as tensors, the seeds, and the guard against values that are not finite."""

    def __init__(
        self, plan: Plan, denoiser: Denoiser, seeds: Tensor, first_index: int, place: Place, on_nonfinite: str
    ) -> None:
        self.plan, self.denoiser, self.place, self.first_index = plan, denoiser, place, first_index
        self.seeds = seeds.to(place.device)
        self.program = self.compile()
        self.guard = Guard(on_nonfinite, place.shape[0], place.device, self.program.finite if self.program else None)
        self.pasts: dict[int, tuple[Any, ...]] = {}
        self.tick: Callable[[], None] = lambda: None
        self.calls = 0  # of the network, so far
        self.times: Iterator[Tensor] = iter(())

    def compile(self) -> Program | None:
        """The program that executes the affine items, if the run is one for it."""
        return program(self.plan, self.seeds, self.first_index, self.place)

    @functools.cached_property
    def tables(self) -> list[tuple[Tensor, Tensor]]:
        """Weights and draw numbers for the op, which a run that keeps to its program never asks for."""
        return tables(self.plan, self.place.device)

    def normal(self, draw: int) -> Tensor:
        number = torch.tensor([draw], dtype=torch.int64, device=self.place.device)
        return ops.normal(self.place.shape, self.seeds, self.first_index, number, self.place.dtype)

    def prior(self) -> tuple[Tensor, ...]:
        """The blocks of x at the first level, drawn."""
        blocks = range(self.plan.blocks)
        factor = torch.tensor(self.plan.sde.prior(self.plan.grid[0].t), dtype=torch.float64, device=self.place.device)
        return prior(factor, [self.normal(draw_number(PRIOR, block=b)) for b in blocks])

    def execute(self, start: tuple[Tensor, ...], after: Callable[..., None] | None) -> tuple[Tensor, ...]:
        """The blocks of the answer, in memory that nobody else holds."""
        told = labels(self.plan, self.denoiser) if type(self.denoiser).__call__ is Denoiser.__call__ else None
        items = strides(self.plan) if self.program else None
        if self.program and items is not None:
            state = walk(self, self.program, items, told, tuple(start), after)
        else:
            if told is not None:
                self.times = _times(self.plan, told, start[0])
            state = execute(self.plan, start, self.network, self.combine, self.opaque, after)
        last = self.plan.items[-1]
        ours = len(last.weights) if isinstance(last, AffineStep) else 0  # rows; the rest is there by reference
        return tuple(b if slot < ours else b.clone() for slot, b in zip(self.plan.result, state, strict=True))

    def network(self, inputs: Sequence[Tensor], step: AffineStep, state: Sequence[Tensor]) -> Sequence[Tensor]:
        assert step.at is not None
        return self.call(inputs, step.at, step.step, state, next(self.times, None))

    def call(
        self,
        inputs: Sequence[Tensor],
        level: Level,
        step: int,
        state: Sequence[Tensor],
        times: Tensor | None = None,
        seen: Times | None = None,
    ) -> Sequence[Tensor]:
        """The network's outputs in the dtype of the state, looked at, and in memory of their own.

        times: what the network gets as t, (B,); seen: the times of the samples where each has its own.
        Raises NetworkError for a network that writes into its input or into an output that is still in use.
        """
        return self.taken(self.asked(inputs, level, times, seen), inputs, level, step, state, seen)

    def asked(
        self, inputs: Sequence[Tensor], level: Level, times: Tensor | None, seen: Times | None = None
    ) -> Sequence[Tensor]:
        """The network's outputs. Raises NetworkError if it writes into its input."""
        versions = _versions(inputs)
        self.calls += 1
        if times is None:
            outputs = self.denoiser(*inputs, level)
        elif seen is None:
            outputs = self.denoiser.ask(inputs, level, times)
        else:
            outputs = self.denoiser.ask(inputs, level, times, seen.levels)
        if versions != _versions(inputs):
            raise self.wrote(level)
        return outputs

    def wrote(self, level: Level) -> NetworkError:
        return NetworkError(f"the network wrote into its input at t = {level.t:g}; let it work on x.clone()")

    def taken(
        self,
        outputs: Sequence[Tensor],
        inputs: Sequence[Tensor],
        level: Level,
        step: int,
        state: Sequence[Tensor],
        seen: Times | None = None,
    ) -> Sequence[Tensor]:
        """Outputs as the solver will read them, looked at; seen as in `call`."""
        for output in outputs:
            self.guard.look(output, seen or level, step)
        self.tick()
        return [self._settled(output, inputs, level, state) for output in outputs]

    def _settled(self, output: Tensor, inputs: Sequence[Tensor], level: Level, state: Sequence[Tensor]) -> Tensor:
        """One output as the solver will read it: in the dtype of the state, in memory that nobody writes to."""
        if output.dtype is not self.place.dtype:
            return output.to(self.place.dtype)
        start = output.data_ptr()
        for held in state or inputs:  # the inputs of an affine item are part of its state
            if held.data_ptr() == start and output.numel():
                if any(x.data_ptr() == start for x in inputs):
                    return output.clone()
                raise NetworkError(
                    f"the network returned the memory of an earlier output at t = {level.t:g}, which is still in use; "
                    f"wrap it with copy=True"
                )
        return output

    def combine(self, index: int, step: AffineStep, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        made = self.program.combine(index, tensors) if self.program else None
        if made is not None:
            return made
        weights, draws = self.tables[index]
        return ops.affine(tensors, weights, self.seeds, self.first_index, draws)

    def opaque(self, item: OpaqueStep, x: Any) -> Any:
        """A step of any solver, on tensors; what it remembers is kept here, by its place in the chain."""

        def call(fed: Sequence[Tensor], level: Level, *times: Any) -> Sequence[Tensor]:
            return self.call(fed, level, item.step, (), *times)

        predict = Ask(self.plan.sde, self.denoiser, call, self.place.dtype)
        past = self.pasts.get(item.index, ())
        moved, memo = take(item.part, item.index, x, item.span._replace(past=past), predict, self.source(item))
        self.pasts[item.index] = remember(item.part, past, memo)
        self._check(item, moved, predict.calls, 0 if past else item.part.opening)
        return moved

    def source(self, item: OpaqueStep) -> Noise:
        """The noise(start, end) of a step on tensors, and its noise.lazy: other normals at each call."""
        calls = iter(range(1 << 30))

        def fresh(start: Level, end: Level) -> list[Fresh]:
            return self.white(item, next(calls))

        return Draws(fresh, self.place.shape, self.place.dtype)

    def white(self, item: OpaqueStep, call: int) -> list[Fresh]:
        """The normals of one call of noise in a step on tensors, one draw a block."""
        numbers = [draw_number(STEP, item.step, item.index, call, block) for block in range(self.plan.blocks)]
        named = torch.tensor(numbers, dtype=torch.int64, device=self.place.device)
        return [Fresh((), self.seeds, self.first_index, number) for number in named.split(1)]

    def _check(self, item: OpaqueStep, x: Any, calls: int, opening: int) -> None:
        """Raises PlanError for a step that returned another state, or called the network more or less than it says."""
        blocks = unpack(x)
        if len(blocks) != self.plan.blocks or any(getattr(b, "shape", None) != self.place.shape for b in blocks):
            got = ", ".join(str(tuple(b.shape)) if isinstance(b, Tensor) else type(b).__name__ for b in blocks)
            raise PlanError(
                f"the step of {item.part!r} returned {got}; "
                f"expected {self.plan.blocks} block(s) of shape {tuple(self.place.shape)}"
            )
        if not item.part.adaptive and calls != (item.part.calls or 0) + opening:
            also = f" and opening = {opening}" if opening else ""
            raise PlanError(
                f"{item.part!r} called the network {calls} times in step {item.step}, but declares "
                f"calls = {item.part.calls}{also}; correct its `calls`, on which the plan counts"
            )


def _versions(inputs: Sequence[Tensor]) -> list[int]:
    """How often each was written to; tensors of inference mode do not count."""
    try:
        return [x._version for x in inputs]
    except RuntimeError:
        return [x._version for x in inputs if not x.is_inference()]


def _times(plan: Plan, told: list[float], x: Tensor) -> Iterator[Tensor]:
    """What the network gets as t at each call of an affine item, (B,); told: one number an item."""
    like = clock(x)
    calls = zip(plan.items, told, strict=True)
    labels = [label for item, label in calls if isinstance(item, AffineStep) and item.at is not None]
    batch = like.shape[0]
    width = -(-batch // 16) * 16  # rows that start at 64 bytes, as compiled networks want their inputs
    if len(labels) * width > 1 << 20:  # beside a batch of this size a tensor a call costs nothing
        return (like.new_full((batch,), label) for label in labels)
    table = torch.tensor(labels, dtype=like.dtype, device=like.device).view(-1, 1).repeat(1, width)
    return iter(table[:, :batch].unbind())


def tables(plan: Plan, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """The weights (rows, reads + draws) and draw numbers of each item: views of one tensor for each shape."""
    tables: list[Any] = [None] * len(plan.items)
    alike: dict[tuple[int, int, int], list[tuple[int, AffineStep]]] = {}
    for place, item in enumerate(plan.items):
        if isinstance(item, AffineStep):
            width = len(item.weights[0]) if item.weights else 0
            alike.setdefault((len(item.weights), width, len(item.draws)), []).append((place, item))
    for (height, width, fresh), items in alike.items():
        flat = [weight for _, item in items for weight in item.table]
        shape = (len(items), height, width + fresh)
        weights = torch.tensor(flat, dtype=torch.float64, device=device).view(shape)
        draws = torch.tensor([item.draws for _, item in items], dtype=torch.int64, device=device)
        each = draws.unbind() if fresh else [draws[0]] * len(items)
        for (place, _), *table in zip(items, weights.unbind(), each, strict=True):
            tables[place] = table
    return tables
