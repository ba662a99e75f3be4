"""The executor of plans: the same few lines for tensors and for coefficient vectors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from torchdiff.blocks import pack, unpack
from torchdiff.plans import Plan
from torchdiff.steps import AffineStep, OpaqueStep

Network = Callable[[Sequence[Any], AffineStep, Sequence[Any]], Sequence[Any]]  # (inputs, step, state) -> outputs
# (item, step, live[reads]) -> outputs of the rows
Combine = Callable[[int, AffineStep, Sequence[Any]], Sequence[Any]]
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
    now = tuple(state)
    for index, item in enumerate(plan.items):
        if isinstance(item, AffineStep):
            live = now
            if item.at is not None:
                live = (*now, *network(picker(item.feed)(now), item, now))
            rows = combine(index, item, picker(item.reads)(live)) if item.weights else ()
            now = (*rows, *picker(item.keep)(live))
        else:
            moved = opaque(item, pack(picker(item.feed)(now)))
            now = (*unpack(moved), *picker(item.keep)(now))
        if after is not None and item.shows:
            after(item.step, picker(item.shows)(now))
    return picker(plan.result)(now)


@functools.lru_cache(maxsize=1024)  # a plan has few patterns of slots, and asks for them four times an item
def picker(slots: tuple[int, ...]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """The function that takes these slots out of a sequence, in this order."""
    if len(slots) > 1:
        return itemgetter(*slots)
    if not slots:
        return lambda values: ()
    (slot,) = slots
    return lambda values: (values[slot],)
