"""The two kinds of item of a plan."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from torchdiff.sde.base import Level
from torchdiff.solvers.base import Solver, Span

Matrix = tuple[tuple[float, ...], ...]


class AffineStep(NamedTuple):
    """A network call (unless `at` is None), then a block of rows: weighted sums of live tensors and fresh normals.

    The network gets `scale` times x; its outputs, added up with the weights `mix`, mean u x0 + w eps: `meaning` is
    (u, w). For block SDEs it is (own, factor) with score of the last block = own * last block + factor * output.

    live = [*state, *network outputs];  outputs[r] = sum_j weights[r][j] live[reads[j]] + sum_q noise[r][q] z[draws[q]]
    state of the next item = [*outputs, *(live[k] for k in keep)]
    """

    at: Level | None
    feed: tuple[int, ...]  # slots of the state that the network gets
    reads: tuple[int, ...]
    weights: Matrix
    draws: tuple[int, ...]  # named: the same number is the same normals, made again here or in a later row
    noise: Matrix
    keep: tuple[int, ...]
    step: int  # the interval of the grid that these rows end in
    shows: tuple[int, ...] = ()  # slots of the next state with x at the end of that interval, if it is materialised
    scale: float = 1.0
    mix: tuple[float, ...] = ()
    meaning: tuple[float, ...] = ()

    @property
    def table(self) -> list[float]:
        """The weights as the op takes them, (rows, reads + draws), row after row."""
        return [w for row, fresh in zip(self.weights, self.noise, strict=True) for w in (*row, *fresh)]


class OpaqueStep(NamedTuple):
    """A step that is no weighted sum: the solver runs on tensors. state -> [*new x, *(state[k] for k in keep)]."""

    part: Solver
    index: int  # its place in the solver's parts
    span: Span
    feed: tuple[int, ...]  # slots of x
    keep: tuple[int, ...]
    step: int
    shows: tuple[int, ...] = ()


def calls_of(items: Iterable[AffineStep | OpaqueStep]) -> list[int | None]:
    """Network calls of each item; None where its step chooses them once it runs."""
    calls: list[int | None] = []
    opened: set[tuple[Solver, int]] = set()
    for item in items:
        if isinstance(item, AffineStep):
            calls.append(int(item.at is not None))
        else:
            part, place = item.part, (item.part, item.index)
            calls.append(None if part.calls is None else part.calls + (0 if place in opened else part.opening))
            opened.add(place)
    return calls


def slots_after(item: AffineStep | OpaqueStep, blocks: int) -> int:
    """How many slots the state has after an item: its rows, or the blocks of its new x, and what it keeps."""
    return len(item.keep) + (len(item.weights) if isinstance(item, AffineStep) else blocks)
