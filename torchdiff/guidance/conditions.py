"""The two sides of classifier-free guidance, the condition and what stands in its place, for one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torchdiff.errors import OptionError, shown

Cond = Mapping[str, Any]
WAY_OUT = "batched=False calls the network once for each side"


def other_side(cond: Cond, null: Cond, shared: Sequence[str]) -> Cond:
    """The conditions of the other side: `null`, and what is shared.

    Raises OptionError for a name that one side has and the other has not: half a guidance would be a silent mistake.
    """
    known = f"the network is given {', '.join(sorted(cond)) or 'no condition'}"
    for name in (*null, *shared):
        if name not in cond:
            raise OptionError(f"guidance has {name!r} for the side without the condition, but {known}")
    for name in cond:
        if name not in null and name not in shared:
            raise OptionError(
                f"guidance does not say what stands in the place of the condition {name!r}; put it into null (or "
                f"negative), or into shared=({name!r},) if both sides get the same"
            )
    return {name: cond[name] if name in shared else null[name] for name in cond}


def rows(one: Cond, other: Cond, batch: int, batched: bool) -> tuple[Cond, Cond]:
    """Both sides with a row for each sample wherever they differ; numbers become rows. Same shapes, if `batched`."""
    left, right = dict(one), dict(other)
    for name, a in one.items():
        b = other[name]
        if a is b:
            continue
        if isinstance(a, Mapping) and isinstance(b, Mapping) and a.keys() == b.keys():
            left[name], right[name] = rows(a, b, batch, batched)
            continue
        like = next((value for value in (a, b) if isinstance(value, Tensor)), None)
        if like is None and not batched:
            continue
        x, y = (_rows(value, batch, like) for value in (a, b))
        if batched:
            _check(name, (a, b), (x, y), batch)
        left[name], right[name] = (a if x is None else x), (b if y is None else y)
    return left, right


def picked(cond: Cond, index: Tensor | None, batch: int) -> Cond:
    """The conditions of these samples; None: of all."""
    return cond if index is None else {name: _picked(value, index, batch) for name, value in cond.items()}


def joined(one: Cond, other: Cond, count: int, more: int) -> Cond:
    """Conditions for count + more rows, from those of `count` rows and of `more` rows."""
    return {name: _joined(a, other[name], count, more) for name, a in one.items()}


def _rows(value: Any, batch: int, like: Tensor | None) -> Tensor | None:
    """A tensor (B, ...), or None for what is none."""
    if isinstance(value, Tensor):
        if value.dim() and len(value) == batch:
            return value
        return value.expand(batch, *value.shape[1:]) if value.dim() == 0 or len(value) == 1 else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    if like is None:
        return torch.full((batch,), value)
    whole = isinstance(value, int)
    dtype = like.dtype if whole or like.is_floating_point() else torch.get_default_dtype()
    return torch.full((batch, *like.shape[1:]), value, dtype=dtype, device=like.device)


def _check(name: str, given: tuple[Any, Any], rows: tuple[Tensor | None, Tensor | None], batch: int) -> None:
    x, y = rows
    if x is None or y is None:
        came = " and ".join(
            f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else shown(value) for value in given
        )
        raise OptionError(
            f"the two sides of condition {name!r} are {came}; one batch of {batch} takes numbers, or tensors with a "
            f"row a sample. {WAY_OUT}"
        )
    if x.shape != y.shape or x.is_floating_point() != y.is_floating_point():
        raise OptionError(
            f"the two sides of condition {name!r} are {tuple(x.shape)} {x.dtype} and {tuple(y.shape)} {y.dtype}, which "
            f"do not fit into one batch; make them alike (padding, mask). {WAY_OUT}"
        )


def _picked(value: Any, index: Tensor, batch: int) -> Any:
    if isinstance(value, Mapping):
        return picked(value, index, batch)
    return value.index_select(0, index) if isinstance(value, Tensor) and value.dim() and len(value) == batch else value


def _joined(a: Any, b: Any, count: int, more: int) -> Any:
    if isinstance(a, Mapping):
        return joined(a, b, count, more)
    both = isinstance(a, Tensor) and isinstance(b, Tensor) and a.dim() > 0 and b.dim() > 0
    if both and (len(a), len(b)) == (count, more):
        return torch.cat([a, b.to(a.dtype)])
    return a
