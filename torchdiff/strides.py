"""A run whose items are all rows, by its program: the watch over the network's outputs is in the rows that read them.

A row of finite values has finite columns: weights are finite, and 0 times an infinity is nan. So the program says with
the rows whether an output has to be looked at, which spares reading it once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from torchdiff.execute import picker
from torchdiff.plans import Plan
from torchdiff.sde.base import Level
from torchdiff.steps import AffineStep, slots_after

if TYPE_CHECKING:
    from torchdiff.program import Program
    from torchdiff.run import Run

Pick = Callable[[Sequence[Any]], tuple[Any, ...]]


class Stride(NamedTuple):
    """An item with its slots as functions, and whether its rows read every output of its network call."""

    item: AffineStep
    at: Level | None
    feed: Pick
    reads: Pick
    keep: Pick | None
    covers: bool


def strides(plan: Plan) -> list[Stride] | None:
    """The items of a plan; None if one of them is a step on tensors."""
    found, slots = [], plan.blocks
    for item in plan.items:
        if not isinstance(item, AffineStep):
            return None
        outputs = range(slots, slots + len(item.mix))
        covers = bool(item.weights) and set(outputs) <= set(item.reads)
        keep = picker(item.keep) if item.keep else None
        found.append(Stride(item, item.at, picker(item.feed), picker(item.reads), keep, covers))
        slots = slots_after(item, plan.blocks)
    return found


def walk(
    run: Run, program: Program, items: list[Stride], now: tuple[Tensor, ...], after: Callable[..., None] | None
) -> tuple[Tensor, ...]:
    """The blocks of the answer, with the network calls, errors and bits of `execute`."""
    for index, (item, at, feed, reads, keep, covers) in enumerate(items):
        live, rows = now, None
        if at is not None:
            inputs = feed(now)
            outputs = run.asked(inputs, at, next(run.times, None))
            live = (*now, *outputs)
            made = program.combine(index, reads(live)) if covers and _apart(outputs, now) else None
            if made is None:
                live = (*now, *run.taken(outputs, inputs, at, item.step, now))
            else:
                rows, fine = made
                if fine:
                    run.guard.passed(at, item.step)
                    run.tick()
                else:
                    run.taken(outputs, inputs, at, item.step, now)
        if rows is None:
            rows = run.combine(index, item, reads(live)) if item.weights else ()
        now = (*rows, *keep(live)) if keep else tuple(rows)
        if after is not None and item.shows:
            after(item.step, picker(item.shows)(now))
    return picker(run.plan.result)(now)


def _apart(outputs: Sequence[Tensor], state: Sequence[Tensor]) -> bool:
    """Whether no output begins where a tensor of the state does: it is then nobody's memory but its own."""
    for output in outputs:
        start = output.data_ptr()
        for held in state:
            if held.data_ptr() == start:
                return False
    return True
