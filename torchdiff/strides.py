"""The items of a plan with their slots made out once: what is read, what is carried on, what nothing reads any more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torchdiff.execute import picker
from torchdiff.plans import Plan
from torchdiff.recent import Recent
from torchdiff.sde.base import Level
from torchdiff.steps import AffineStep

Pick = Callable[[Sequence[Any]], tuple[Any, ...]]


class Stride(NamedTuple):
    """An item with its slots as functions of the state, or of the live tensors.

    others: the slots of the state that the rows do not read. covers: whether the rows read every output of the
    network call. spent: which of `reads` are rows of an item before that nothing reads after this one.
    """

    item: AffineStep
    at: Level | None
    feed: Pick
    reads: Pick
    keep: Pick
    others: tuple[int, ...]
    covers: bool
    spent: tuple[int, ...]
    mark: tuple[int, float | None]  # what a guard remembers of the call: the interval, and t


def _strides(plan: Plan) -> list[Stride] | None:
    found: list[Stride] = []
    state = [(-1, block) for block in range(plan.blocks)]  # each tensor by the item that made it, and its place there
    for index, item in enumerate(plan.items):
        if not isinstance(item, AffineStep):
            return None
        rows = len(item.weights)
        live = [*state, *((-1, (index, output)) for output in range(len(item.mix)))]
        outputs = range(len(state), len(live))
        others = tuple(slot for slot in range(len(state)) if slot not in item.reads)
        following = [*((index, row) for row in range(rows)), *(live[slot] for slot in item.keep)]
        spent = {live[slot]: place for place, slot in enumerate(item.reads) if live[slot][0] >= 0}
        gone = tuple(place for tensor, place in spent.items() if tensor not in following)
        covers = bool(rows) and set(outputs) <= set(item.reads)
        mark = (item.step, None if item.at is None else item.at.t)
        feed, reads, keep = picker(item.feed), picker(item.reads), picker(item.keep)
        found.append(Stride(item, item.at, feed, reads, keep, others, covers, gone, mark))
        state = following
    return found


strides = Recent(_strides)  # the items of a plan; None if one of them is a step on tensors
