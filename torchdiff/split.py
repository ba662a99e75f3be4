"""Items that ask for more than one call of the op takes, as several items that do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torchdiff.limits import DRAWS, ROWS, TENSORS
from torchdiff.steps import AffineStep, Matrix, OpaqueStep, slots_after

Item = AffineStep | OpaqueStep
Key = int | tuple[int, int]  # what was live in the wide item by its slot; (r, p): row r after piece p of its sum


def split(items: Sequence[Item], blocks: int, stored: bool = False) -> tuple[Item, ...]:
    """The same items with the wide ones split; each leaves the state that the wide one left.

    Rows beyond 8 are rows of an item of their own, with the same bits. A row over more than 32 tensors or 8 draws is a
    sum of partial sums, into which the state goes last. A partial sum is rounded to the dtype of the state: one
    rounding more for every 24 tensors or 8 draws beyond (none in float64). Only formulas with more than 32 live
    tensors, or 9 draws in one block of rows, meet that.
    blocks: of the state that the first item gets. stored: whether draws come as tensors too (increments of a path).
    """
    tensors = TENSORS - DRAWS if stored else TENSORS
    result: list[Item] = []
    slots = blocks
    for item in items:
        result += _narrow(item, slots, tensors) if isinstance(item, AffineStep) and _wide(item, tensors) else (item,)
        slots = slots_after(item, blocks)
    return tuple(result)


def _wide(item: AffineStep, tensors: int) -> bool:
    return len(item.weights) > ROWS or (
        len(item.weights) > 0 and (len(item.reads) > tensors or len(item.draws) > DRAWS)
    )


class _Piece(NamedTuple):
    """One call of the op: `outs` are weighted sums over `reads` and `draws`; done if they are rows and no parts."""

    outs: tuple[Key, ...]
    reads: tuple[Key, ...]
    weights: Matrix
    draws: tuple[int, ...]
    noise: Matrix
    done: bool


def _narrow(item: AffineStep, slots: int, tensors: int) -> list[AffineStep]:
    # the last rows first: outputs come before what is kept, so the rows end in their order
    pieces = [
        piece
        for start in reversed(range(0, len(item.weights), ROWS))
        for piece in _pieces(item, range(start, min(start + ROWS, len(item.weights))), tensors)
    ]
    result: list[AffineStep] = []
    live: list[Key] = list(range(slots + len(item.mix) * (item.at is not None)))
    rows: list[Key] = []
    for place, piece in enumerate(pieces):
        later = {*item.keep, *(key for other in pieces[place + 1 :] for key in other.reads)}
        last = place + 1 == len(pieces)
        kept = [*rows, *(item.keep if last else [key for key in live if key in later and key not in rows])]
        call = {} if place == 0 else {"at": None, "feed": (), "scale": 1.0, "mix": (), "meaning": ()}
        result.append(
            item._replace(
                reads=tuple(map(live.index, piece.reads)),
                weights=piece.weights,
                draws=piece.draws,
                noise=piece.noise,
                keep=tuple(map(live.index, kept)),
                shows=item.shows if last else (),
                **call,
            )
        )
        live = [*piece.outs, *kept]
        rows = [*piece.outs, *rows] if piece.done else rows
    return result


def _pieces(item: AffineStep, rows: range, tensors: int) -> Iterator[_Piece]:
    """The calls that make these rows: the last columns first and the state last, in the order in which the op adds."""
    draws = [q for q in range(len(item.draws)) if any(item.noise[r][q] != 0.0 for r in rows)]
    reads = list(range(len(item.reads)))
    if len(reads) > tensors:
        reads = [j for j in reads if any(item.weights[r][j] != 0.0 for r in rows)] or reads[:1]
    parts: tuple[Key, ...] = ()
    count = 0
    while reads or draws:
        fresh, draws = draws[-DRAWS:], draws[:-DRAWS]
        start = len(reads) if draws else max(0, len(reads) - (tensors - len(parts)))
        more, reads = reads[start:], reads[:start]
        # a call takes its shape from a tensor: where it adds up draws alone, one enters with weight 0
        idle = (item.reads[reads[-1]],) if not (more or parts) else ()
        ones = [tuple(float(r == s) for s in rows) if parts else (0.0,) * len(idle) for r in rows]
        outs = tuple((r, count) for r in rows)
        yield _Piece(
            outs,
            (*(item.reads[j] for j in more), *parts, *idle),
            tuple((*(item.weights[r][j] for j in more), *carried) for r, carried in zip(rows, ones, strict=True)),
            tuple(item.draws[q] for q in fresh),
            tuple(tuple(item.noise[r][q] for q in fresh) for r in rows),
            done=not (reads or draws),
        )
        parts, count = outs, count + 1
