"""The one loop over a grid. Tracing, sampling on tensors and the Gaussian push-forward are its uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torchdiff.sde.base import Level, LinearSDE
from torchdiff.solvers.base import Carry, Predict, Solver, Span
from torchdiff.solvers.ddim import DDIM

# (step, part) -> the noise(start, end) that this part gets in this interval
NoiseSource = Callable[[int, int], Callable[[Level, Level], Any]]
Take = Callable[[Solver, int, Any, Span, Predict, Callable[[Level, Level], Any]], Carry]


def take(part: Solver, index: int, x: Any, span: Span, predict: Predict, noise: Callable[[Level, Level], Any]) -> Carry:
    """One step of one part; `index` is its place in the solver's parts."""
    result = part.step(x, span, predict, noise)
    return result if isinstance(result, Carry) else Carry(result, None)


def remember(part: Solver, past: tuple[Any, ...], memo: Any) -> tuple[Any, ...]:
    """The past of a part after a step that asked to remember `memo`, newest first; None is nothing."""
    return past if memo is None else (memo, *past)[: part.memory]


def drive(
    solver: Solver,
    sde: LinearSDE,
    grid: tuple[Level, ...],
    x: Any,
    predict: Predict,
    noise: NoiseSource,
    *,
    final: Solver | None = None,
    take: Take = take,
    after: Callable[[int, Any], None] | None = None,
) -> Any:
    """x at the last level of the grid, from x at the first.

    final: solver of the last interval, in the place of the part that moves. take: how one step is taken (a tracer
    settles what it returns). after(i, x): called when x has reached grid[i + 1].
    """
    parts = solver.parts()
    pasts: list[tuple[Any, ...]] = [()] * len(parts)  # by index: two equal correctors are equal dataclasses
    for step in range(len(grid) - 1):
        for index, part in enumerate(parts):
            acting = _acting(part, final if step == len(grid) - 2 else None, grid[step], grid[step + 1])
            span = Span(sde, grid, step, pasts[index])
            x, memo = take(acting, index, x, span, predict, noise(step, index))
            pasts[index] = remember(part, pasts[index], memo)
        if after is not None:
            after(step, x)
    return x


def _acting(part: Solver, final: Solver | None, cur: Level, nxt: Level) -> Solver:
    """The solver that takes this interval: where alpha or sigma is 0 most formulas divide by it, DDIM does not."""
    if not part.moves:
        return part
    if final is not None:
        return final
    if part.adaptive:  # its interval may be the whole way, which is too long for one step of another formula
        return part
    if cur.scalar and (nxt.alpha == 0.0 or (not part.ends and (cur.alpha == 0.0 or nxt.sigma == 0.0))):
        return DDIM()
    return part
