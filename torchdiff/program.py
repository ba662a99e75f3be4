"""The shortest way through a run on the CPU: rows and checks by addresses, where nothing about the tensors is unusual.

torch's dispatcher takes 4 us for a call with a list of tensors, ten times what the sums of a small batch take. Here
every tensor is looked at in Python, and what is not plain, contiguous and of the state's shape and dtype is left to the
op; so is everything while torch records, traces, or has a mode that wants to see each op.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchdiff import ops
from torchdiff.inputs import Place
from torchdiff.plans import Plan
from torchdiff.recent import Recent
from torchdiff.steps import AffineStep

_CODES = {torch.float16: 5, torch.float32: 6, torch.float64: 7, torch.bfloat16: 15}  # c10::ScalarType
_address, _holders = torch._C._storage_address, torch._C._storage_Use_Count  # pyright: ignore[reportAttributeAccessIssue]


class Program:
    """The affine items of a plan for one run; see csrc/program.h."""

    def __init__(self, plan: Plan, seeds: Tensor, first_index: int, place: Place) -> None:
        from torchdiff import _C

        self.shape, self.dtype = torch.Size(place.shape), place.dtype
        table, self.rows = _tables(plan)
        event, code = math.prod(place.shape[1:]), _CODES[place.dtype]
        self.compiled = _C.Program(table, place.shape[0], event, code, seeds.tolist(), first_index)
        # below, torch's allocator keeps memory by itself, and a small row costs less than a look at who holds another
        self.large = place.shape[0] * event * place.dtype.itemsize >= _C.kept_least
        self.made: dict[int, int] = {}  # where the rows of this program lie, by the addresses of their storages

    def plain(self, t: Tensor) -> bool:
        """Whether the values of t lie as the compiled code will read them."""
        return self._all_plain((t,))

    def _all_plain(self, tensors: Sequence[Any]) -> bool:
        shape, dtype = self.shape, self.dtype
        for t in tensors:
            if (
                type(t) is not Tensor
                or t.dtype is not dtype
                or t.shape != shape
                or not t.is_cpu
                or not t.is_contiguous()
                or t.is_neg()
            ):
                return False
        return True

    def combine(
        self, index: int, tensors: Sequence[Any], apart: Sequence[Tensor] | None = None, spent: Sequence[int] = ()
    ) -> tuple[tuple[Tensor, ...], bool] | None:
        """The rows of item `index`, and True only if all tensors are finite; None where one of them is not plain.

        apart: if given, None too where two of these and the tensors begin at one address. spent: which tensors nobody
        reads after this; rows may be written over them where nobody else holds them.
        """
        if not self._all_plain(tensors):
            self.made.clear()  # the rows will be the op's, at storages that it does not name
            return None
        places = [t.data_ptr() for t in tensors]
        if apart is not None:
            held = {*places, *[t.data_ptr() for t in apart]} if apart else set(places)
            if len(held) != len(places) + len(apart):
                return None
        if self.large:
            rows = self._large_rows(index, tensors, spent)
        else:
            first = tensors[0]
            rows = tuple([torch.empty_like(first) for _ in range(self.rows[index])])
        return rows, self.compiled.run(index, (*places, *[row.data_ptr() for row in rows]))

    def _large_rows(self, index: int, tensors: Sequence[Tensor], spent: Sequence[int]) -> tuple[Tensor, ...]:
        """Memory for the rows: first that of spent ones, whose lines are in the caches and need not be fetched."""
        count = self.rows[index]
        rows = [tensors[place].detach() for place in spent if self._forgotten(tensors[place])][:count]
        if len(rows) < count:
            fresh = torch.ops.torchdiff._rows_like.default(tensors[0], count - len(rows))
            self.made.update({_address(row): row.data_ptr() for row in fresh})
            rows += fresh
        return tuple(rows)

    def _forgotten(self, row: Tensor) -> bool:
        """Whether a row of this program is held by the caller alone.

        The network has seen it as an alias (see `lent`): whoever kept that, or a view, holds the storage too. One that
        moved went into shared memory, where other processes read.
        """
        storage = _address(row)
        return self.made.get(storage) == row.data_ptr() and _holders(storage) == 1

    def lent(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The tensors as a network gets them."""
        return tuple([t.detach() for t in tensors]) if self.large else tensors

    def finite(self, x: Tensor) -> bool:
        """True only if x is plain and every value is finite."""
        return self.plain(x) and self.compiled.finite(x.data_ptr())


def _table(plan: Plan) -> tuple[Any, list[int]]:
    """The weights of a plan, compiled, and how many rows each item has."""
    from torchdiff import _C

    table, rows = _C.Table(), []
    for item in plan.items:
        if isinstance(item, AffineStep):
            table.add(item.table, len(item.reads), len(item.weights), item.draws)
        else:
            table.add([], 0, 0, ())  # keeps the numbers of the items
        rows.append(len(item.weights) if isinstance(item, AffineStep) else 0)
    return table, rows


_tables = Recent(_table)


def program(plan: Plan, seeds: Tensor, first_index: int, place: Place) -> Program | None:
    """A program for this run, or None where the ops must do it: on a device, without the extension, under a mode."""
    usual = place.device.type == "cpu" and not torch.is_grad_enabled() and not ops.watched()
    if not usual or ops.backend().name != "extension" or 0 in place.shape:
        return None
    return Program(plan, seeds, first_index, place)
