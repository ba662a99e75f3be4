"""A run whose items are all rows, by its program: the watch over the network's outputs is in the rows that read them.

A row of finite values has finite columns: weights are finite, and 0 times an infinity is nan. So the program says with
the rows whether an output has to be looked at, which spares reading it once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from torchdiff.denoiser import Denoiser
from torchdiff.execute import picker
from torchdiff.plans import Plan
from torchdiff.recent import Recent
from torchdiff.sde.base import Level
from torchdiff.steps import AffineStep

if TYPE_CHECKING:
    from torchdiff.program import Program
    from torchdiff.run import Run

Pick = Callable[[Sequence[Any]], tuple[Any, ...]]


class Stride(NamedTuple):
    """An item with its slots as functions of the state, or of the live tensors.

    others: the tensors of the state that the rows do not read. covers: whether the rows read every output of the
    network call. spent: which of `reads` are rows of an item before that nothing reads after this one.
    """

    item: AffineStep
    at: Level | None
    feed: Pick
    reads: Pick
    others: Pick
    keep: Pick | None
    covers: bool
    spent: tuple[int, ...]


def _strides(plan: Plan) -> list[Stride] | None:
    found: list[Stride] = []
    state = [(-1, block) for block in range(plan.blocks)]  # each tensor by the item that made it, and its place there
    for index, item in enumerate(plan.items):
        if not isinstance(item, AffineStep):
            return None
        rows = len(item.weights)
        live = [*state, *((-1, (index, output)) for output in range(len(item.mix)))]
        outputs = range(len(state), len(live))
        others = picker(tuple(slot for slot in range(len(state)) if slot not in item.reads))
        following = [*((index, row) for row in range(rows)), *(live[slot] for slot in item.keep)]
        spent = {live[slot]: place for place, slot in enumerate(item.reads) if live[slot][0] >= 0}
        gone = tuple(place for tensor, place in spent.items() if tensor not in following)
        covers = bool(rows) and set(outputs) <= set(item.reads)
        keep = picker(item.keep) if item.keep else None
        found.append(Stride(item, item.at, picker(item.feed), picker(item.reads), others, keep, covers, gone))
        state = following
    return found


strides = Recent(_strides)  # the items of a plan; None if one of them is a step on tensors


def walk(
    run: Run, program: Program, items: list[Stride], now: tuple[Tensor, ...], after: Callable[..., None] | None
) -> tuple[Tensor, ...]:
    """The blocks of the answer, with the network calls, errors and bits of `execute`."""
    denoiser = run.denoiser
    # what a program takes is what such a denoiser asks for, so its own looks can wait until something is unusual
    trusted = type(denoiser) is Denoiser and not denoiser.copy and not denoiser.calling.variance
    combine, passed = program.combine, run.guard.passed
    for index, (item, at, feed, reads, others, keep, covers, spent) in enumerate(items):
        live: tuple[Any, ...] = now
        rows = None
        if at is not None:
            lent, times = program.lent(feed(now)), next(run.times, None)
            output: Any = run.heard(lent, at, times) if trusted else None
            live = (*now, output) if trusted else (*now, *run.asked(lent, at, times))
            del lent  # or nothing is forgotten
            made = combine(index, reads(live), others(now), spent if after is None else ()) if covers else None
            if made is None:
                inputs = feed(now)
                outputs = denoiser.read(output, inputs[0], at) if trusted else live[len(now) :]
                live = (*now, *run.taken(outputs, inputs, at, item.step, now))
            else:
                rows, fine = made
                if fine:
                    passed(at, item.step)
                    run.tick()
                else:
                    run.taken(live[len(now) :], feed(now), at, item.step, now)
        if rows is None:
            rows = run.combine(index, item, reads(live)) if item.weights else ()
        now = (*rows, *keep(live)) if keep else tuple(rows)
        if after is not None and item.shows:
            after(item.step, picker(item.shows)(now))
    return picker(run.plan.result)(now)
