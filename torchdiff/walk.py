"""A run whose items are all rows, by its program: the watch over the network's outputs is in the rows that read them.

A row of finite values has finite columns: weights are finite, and 0 times an infinity is nan. So the program says with
the rows whether an output has to be looked at, which spares reading it once more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from torchdiff.denoiser import Denoiser
from torchdiff.execute import picker
from torchdiff.program import Program
from torchdiff.strides import Stride

if TYPE_CHECKING:
    from torchdiff.run import Run


def walk(
    run: Run,
    program: Program,
    items: list[Stride],
    labels: list[float] | None,
    now: tuple[Tensor, ...],
    after: Callable[..., None] | None,
) -> tuple[Tensor, ...]:
    """The blocks of the answer, with the network calls, errors and bits of `execute`.

    labels: of each item, what the network gets as t; None for a denoiser that is told levels only.
    """
    denoiser = run.denoiser
    # what a program takes is what such a denoiser asks for, so its own looks can wait until something is unusual
    trusted = type(denoiser) is Denoiser and denoiser.plain and not denoiser.copy and denoiser.net is not None
    step, move, _, times = program.walk(labels or [0.0] * len(items), rewrite=after is None)
    network, conditions = (denoiser.net, denoiser.cond) if trusted else (None, None)
    passed, tick = run.guard.calls.append, run.tick
    for index, (item, at, feed, reads, keep, _, covers, _, mark) in enumerate(items):
        moved: Any = None  # the state after this item, once it is there
        outputs: Any = None  # of the network, while they have to be looked at
        if at is None:
            moved = (move(index, now, ()) or (None,))[0]
        elif trusted and covers:
            run.calls += 1
            try:
                met = step(index, now, network, conditions)
            except (IndexError, RuntimeError) as error:
                denoiser.blame(error, now[0], at)
                raise
            if met is None:
                raise run.wrote(at)
            moved, said = met
            if said is not True:
                outputs = denoiser.read(denoiser.found(said), now[0], at)
        else:
            outputs = run.asked(feed(now), at, None if labels is None else times(index))
            met = move(index, now, outputs) if covers else None
            if met is not None:
                moved, outputs = met[0], None if met[1] else outputs
        if outputs is not None and at is not None:
            outputs = run.taken(outputs, feed(now), at, item.step, now)
        elif at is not None:
            passed(mark)
            tick()
        if moved is None:
            live = (*now, *(outputs or ()))
            rows = run.combine(index, item, reads(live)) if item.weights else ()
            moved = (*rows, *keep(live))
        now = moved
        if after is not None and item.shows:
            after(item.step, picker(item.shows)(now))
    return picker(run.plan.result)(now)
