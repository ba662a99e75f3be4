"""One execution of a plan on tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from torchdiff import ops
from torchdiff.blocks import pack, unpack
from torchdiff.counters import PRIOR, STEP, draw_number
from torchdiff.denoiser import Denoiser
from torchdiff.drive import remember, take
from torchdiff.errors import NetworkError, PlanError
from torchdiff.execute import execute
from torchdiff.guard import Guard
from torchdiff.inputs import Place
from torchdiff.plans import Plan
from torchdiff.predict import read
from torchdiff.sde.base import Level
from torchdiff.solvers.base import Noise
from torchdiff.steps import AffineStep, OpaqueStep


class Run:
    """A plan with its weights as tensors, the seeds, and the guard against values that are not finite."""

    def __init__(
        self, plan: Plan, denoiser: Denoiser, seeds: Tensor, first_index: int, place: Place, on_nonfinite: str
    ) -> None:
        self.plan, self.denoiser, self.place, self.first_index = plan, denoiser, place, first_index
        self.seeds = seeds.to(place.device)
        self.tables = tables(plan, place.device)
        self.guard = Guard(on_nonfinite, place.shape[0], place.device)
        self.pasts: dict[int, tuple[Any, ...]] = {}
        self.tick: Callable[[], None] = lambda: None

    def normal(self, draw: int) -> Tensor:
        number = torch.tensor([draw], dtype=torch.int64, device=self.place.device)
        return ops.normal(self.place.shape, self.seeds, self.first_index, number, self.place.dtype)

    def prior(self) -> tuple[Tensor, ...]:
        """The blocks of x at the first level, drawn."""
        factor = self.plan.sde.prior(self.plan.grid[0].t)
        return unpack(factor @ pack(self.normal(draw_number(PRIOR, block=b)) for b in range(self.plan.blocks)))

    def execute(self, start: tuple[Tensor, ...], after: Callable[..., None]) -> tuple[Tensor, ...]:
        """The blocks of the answer, in memory that nobody else holds."""
        state = execute(self.plan, start, self.network, self.combine, self.opaque, after)
        last = self.plan.items[-1]
        ours = len(last.weights) if isinstance(last, AffineStep) else 0  # rows; the rest is there by reference
        return tuple(b if slot < ours else b.clone() for slot, b in zip(self.plan.result, state, strict=True))

    def network(self, inputs: Sequence[Tensor], step: AffineStep, state: Sequence[Tensor]) -> Sequence[Tensor]:
        assert step.at is not None
        return self.call(inputs, step.at, step.step, state)

    def call(self, inputs: Sequence[Tensor], level: Level, step: int, state: Sequence[Tensor]) -> Sequence[Tensor]:
        """The network's outputs in the dtype of the state, looked at, and in memory of their own.

        Raises NetworkError for a network that writes into its input or into an output that is still in use.
        """
        versions = [x._version for x in inputs if not x.is_inference()]
        outputs = self.denoiser(*inputs, level)
        if versions != [x._version for x in inputs if not x.is_inference()]:
            raise NetworkError(f"the network wrote into its input at t = {level.t:g}; let it work on x.clone()")
        mine, kept = {x.data_ptr() for x in inputs}, {x.data_ptr() for x in state}
        results = []
        for output in outputs:
            self.guard.look(output, level, step)
            if output.dtype != self.place.dtype:
                output = output.to(self.place.dtype)
            elif output.numel() and output.data_ptr() in mine:
                output = output.clone()
            elif output.numel() and output.data_ptr() in kept:
                raise NetworkError(
                    f"the network returned the memory of an earlier output at t = {level.t:g}, which is still in use; "
                    f"wrap it with copy=True"
                )
            results.append(output)
        self.tick()
        return results

    def combine(self, index: int, step: AffineStep, tensors: list[Tensor]) -> Sequence[Tensor]:
        weights, draws = self.tables[index]
        return ops.affine(tensors, weights, self.seeds, self.first_index, draws)

    def opaque(self, item: OpaqueStep, x: Any) -> Any:
        """A step of any solver, on tensors; what it remembers is kept here, by its place in the chain."""
        calls = 0

        def predict(x: Any, level: Level) -> Any:
            nonlocal calls
            calls += 1
            scale = self.denoiser.scale(level)
            fed = [b * scale if scale != 1.0 else b for b in unpack(x)]
            return read(self.plan.sde, self.denoiser, x, tuple(self.call(fed, level, item.step, ())), level)

        past = self.pasts.get(item.index, ())
        moved, memo = take(item.part, item.index, x, item.span._replace(past=past), predict, self.source(item))
        self.pasts[item.index] = remember(item.part, past, memo)
        self._check(item, moved, calls)
        return moved

    def source(self, item: OpaqueStep) -> Noise:
        """The noise(start, end) of a step on tensors: other normals at each call."""
        calls = iter(range(1 << 30))

        def noise(start: Level, end: Level) -> Any:
            call, blocks = next(calls), range(self.plan.blocks)
            return pack(self.normal(draw_number(STEP, item.step, item.index, call, block)) for block in blocks)

        return noise

    def _check(self, item: OpaqueStep, x: Any, calls: int) -> None:
        """Raises PlanError for a step that returned another state, or called the network more or less than it says."""
        blocks = unpack(x)
        if len(blocks) != self.plan.blocks or any(getattr(b, "shape", None) != self.place.shape for b in blocks):
            got = ", ".join(str(tuple(b.shape)) if isinstance(b, Tensor) else type(b).__name__ for b in blocks)
            raise PlanError(
                f"the step of {item.part!r} returned {got}; "
                f"expected {self.plan.blocks} block(s) of shape {tuple(self.place.shape)}"
            )
        if calls != item.part.calls:
            raise PlanError(
                f"{item.part!r} called the network {calls} times in step {item.step}, but declares "
                f"calls = {item.part.calls}; correct its `calls`, on which the plan counts"
            )


def tables(plan: Plan, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """The weights (rows, reads + draws) and draw numbers of each item: views of two tensors made once."""
    weights: list[float] = []
    draws: list[int] = []
    shapes: list[tuple[int, int, int]] = []
    for item in plan.items:
        rows = zip(item.weights, item.noise, strict=True) if isinstance(item, AffineStep) else ()
        numbers = item.draws if isinstance(item, AffineStep) else ()
        table = [w for row, fresh in rows for w in (*row, *fresh)]
        height = len(item.weights) if isinstance(item, AffineStep) else 0
        shapes.append((height, len(table) // max(1, height), len(numbers)))
        weights += table
        draws += numbers
    flat = torch.tensor(weights, dtype=torch.float64, device=device)
    named = torch.tensor(draws, dtype=torch.int64, device=device)
    pieces = zip(
        flat.split([height * width for height, width, _ in shapes]), named.split([n for *_, n in shapes]), strict=True
    )
    return [(w.view(height, width), d) for (w, d), (height, width, _) in zip(pieces, shapes, strict=True)]
