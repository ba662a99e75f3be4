"""A run on Brownian paths, one for each block of the state: a seed is the same path at any number of steps."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from torchdiff import ops
from torchdiff.blocks import pack
from torchdiff.counters import block_of
from torchdiff.draws import Draws, Fresh
from torchdiff.intervals import Claims, Interval, duration, normaliser
from torchdiff.plans import Plan
from torchdiff.run import Run, tables
from torchdiff.sde.base import Level
from torchdiff.solvers.base import Noise
from torchdiff.steps import AffineStep, OpaqueStep

AHEAD = 2**22  # elements of the increments that are made ahead: on a CPU, consecutive intervals share half the work


class BrownianRun(Run):
    """A run that makes the draws of `plan.spans` and `plan.areas` from a path, and all other normals as any run.

    An increment or area enters `affine` as a tensor, its weight divided by its standard deviation.
    """

    def __init__(self, plan: Plan, *arguments: Any) -> None:
        super().__init__(plan, *arguments)
        self.spans = {draw: (start, end) for draw, start, end in (*plan.spans, *plan.areas)}
        self.areas = {draw for draw, *_ in plan.areas}
        self.ready: dict[int, dict[Interval, list[Tensor]]] = {}  # block -> interval -> its increment and area

    def compile(self) -> None:
        """No program: increments enter as tensors that the plan does not read."""

    @functools.cached_property
    def tables(self) -> list[tuple[Tensor, Tensor]]:
        """Weights for the op, the draws of the path read as tensors."""
        scales = {
            draw: normaliser(self.plan.sde, interval) * (math.sqrt(12.0) if draw in self.areas else 1.0)
            for draw, interval in self.spans.items()
        }
        return tables(_as_tensors(self.plan, scales), self.place.device)

    def combine(self, index: int, step: AffineStep, inputs: Sequence[Tensor]) -> Any:
        weights, draws = self.tables[index]
        increments = [self._increment(draw) for draw in step.draws if draw in self.spans]
        return ops.affine([*inputs, *increments], weights, self.seeds, self.first_index, draws)

    def source(self, item: OpaqueStep) -> Noise:
        claims, calls = Claims(self.plan.sde, item.part, item.span), iter(range(1 << 30))

        def fresh(start: Level, end: Level) -> list[Fresh]:
            call, interval = next(calls), claims.claim(start, end)
            if interval is None:
                return self.white(item, call)
            scale, blocks = normaliser(self.plan.sde, interval), range(self.plan.blocks)
            return [Fresh.of((self._path(block, interval)[0] * scale).to(self.place.dtype)) for block in blocks]

        def joint(start: Level, end: Level) -> tuple[Any, Any] | None:
            interval = claims.claim(start, end)
            if interval is None:
                return None
            made = [self._joint(block, interval) for block in range(self.plan.blocks)]
            return pack(w for w, _ in made), pack(u for _, u in made)

        return Draws(fresh, self.place.shape, self.place.dtype, joint)

    def _increment(self, draw: int) -> Tensor:
        """The increment or area of a draw of the plan, made together with those that follow."""
        block, interval = block_of(draw), self.spans[draw]
        if interval not in self.ready.setdefault(block, {}):
            asked = (self.spans[d] for d in self.plan.draws if d in self.spans and block_of(d) == block)
            queue = list(dict.fromkeys(asked))
            first = queue.index(interval)
            queue = queue[first : first + max(1, AHEAD // max(1, math.prod(self.place.shape)))]
            self.ready[block] = dict(zip(queue, self._made(block, queue), strict=True))
        return self.ready[block][interval][draw in self.areas]

    def _made(self, block: int, queue: Sequence[Interval]) -> list[list[Tensor]]:
        """The increment W over each interval, and where the plan has areas U / h - W / 2."""
        times, places = [queue[0][0]], []
        for start, end in queue:
            times += [end] if times[-1] == start else [start, end]
            places.append(len(times) - 2)
        w, *integral = self._walk(block, times, bool(self.areas))
        if not integral:
            return [[w[place]] for place in places]
        spans = [duration(self.plan.sde, interval) * (1.0 if interval[0] < interval[1] else -1.0) for interval in queue]
        return [[w[at], integral[0][at] / span - 0.5 * w[at]] for at, span in zip(places, spans, strict=True)]

    def _path(self, block: int, times: list[float] | Interval) -> Tensor:
        """Increments over consecutive times, (K, B, *event); float32 for half-precision states, as all their noise."""
        return self._walk(block, times, False)[0]

    def _joint(self, block: int, interval: Interval) -> tuple[Tensor, Tensor]:
        """The increment over one interval and the integral along it, whichever way it goes, in the state's dtype."""
        w, integral = (made[0].to(self.place.dtype) for made in self._walk(block, interval, True))
        return w, integral if interval[0] < interval[1] else -integral

    def _walk(self, block: int, times: list[float] | Interval, integral: bool) -> list[Tensor]:
        dtype = torch.float64 if self.place.dtype == torch.float64 else torch.float32
        ends, horizon = torch.tensor(times, dtype=torch.float64, device="cpu"), self.plan.sde.t_max
        return ops.brownian(self.place.shape, self.seeds, self.first_index, block, ends, horizon, integral, dtype)


def _as_tensors(plan: Plan, scales: dict[int, float]) -> Plan:
    """The plan with the draws of a path read as tensors by these scales, after the others: the weights for `affine`."""
    items = []
    for item in plan.items:
        if isinstance(item, AffineStep):
            path = [q for q, draw in enumerate(item.draws) if draw in scales]
            white = [q for q, draw in enumerate(item.draws) if draw not in scales]
            weights = tuple(
                (*row, *(fresh[q] * scales[item.draws[q]] for q in path))
                for row, fresh in zip(item.weights, item.noise, strict=True)
            )
            noise = tuple(tuple(fresh[q] for q in white) for fresh in item.noise)
            item = item._replace(weights=weights, noise=noise, draws=tuple(item.draws[q] for q in white))
        items.append(item)
    return replace(plan, items=tuple(items))
