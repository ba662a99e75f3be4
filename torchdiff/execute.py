"""The executor of plans: the same few lines for tensors and for coefficient vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torchdiff.blocks import pack, unpack
from torchdiff.plans import Plan
from torchdiff.steps import AffineStep, OpaqueStep

Network = Callable[[Sequence[Any], AffineStep, Sequence[Any]], Sequence[Any]]  # (inputs, step, state) -> outputs
Combine = Callable[[int, AffineStep, list[Any]], Sequence[Any]]  # (item, step, live[reads]) -> outputs of the rows
Opaque = Callable[[OpaqueStep, Any], Any]  # (step, x) -> new x


def execute(
    plan: Plan,
    state: Sequence[Any],
    network: Network,
    combine: Combine,
    opaque: Opaque,
    after: Callable[[int, tuple[Any, ...]], None] | None = None,
) -> tuple[Any, ...]:
    """The blocks of the answer, from the blocks of x at the first level.

    after(step, blocks): called with x at the end of each interval that the plan shows.
    """
    state = list(state)
    for index, item in enumerate(plan.items):
        if isinstance(item, OpaqueStep):
            moved = opaque(item, pack(state[slot] for slot in item.feed))
            state = [*unpack(moved), *(state[slot] for slot in item.keep)]
        else:
            live = state
            if item.at is not None:
                live = [*state, *network([state[slot] for slot in item.feed], item, state)]
            rows = combine(index, item, [live[slot] for slot in item.reads]) if item.weights else ()
            state = [*rows, *(live[slot] for slot in item.keep)]
        if after is not None and item.shows:
            after(item.step, tuple(state[slot] for slot in item.shows))
    return tuple(state[slot] for slot in plan.result)
