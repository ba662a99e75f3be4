"""The shortest way through a run on the CPU: rows and checks by addresses, where nothing about the tensors is unusual.

torch's dispatcher takes 4 us for a call with a list of tensors, ten times what the sums of a small batch take. Here
compiled code looks at every tensor, and what is not plain, contiguous and of the state's shape and dtype is left to the
op; so is everything while torch records, traces, or has a mode that wants to see each op.
"""

from __future__ import annotations

import functools
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
from torchdiff.strides import strides

_CODES = {torch.float16: 5, torch.float32: 6, torch.float64: 7, torch.bfloat16: 15}  # c10::ScalarType


class Program:
    """The affine items of a plan for one run; see csrc/program.h."""

    def __init__(self, plan: Plan, seeds: Tensor, first_index: int, place: Place) -> None:
        from torchdiff import _C

        self.shape, self.dtype, self.code = torch.Size(place.shape), place.dtype, _CODES[place.dtype]
        event = math.prod(place.shape[1:])
        self.compiled = _C.Program(_tables(plan), place.shape[0], event, self.code, seeds.tolist(), first_index)
        # below, torch's allocator keeps memory by itself
        large = place.shape[0] * event * place.dtype.itemsize >= _C.kept_least
        self.fresh = _large_row if large else torch.empty_like

    def walk(self, labels: Sequence[float], rewrite: bool) -> tuple[Any, ...]:
        """(step, move, rows, times) of csrc/walk_python.h, for one run from here on.

        labels: what the network gets as t at each item. rewrite: whether a row may be written over one that nobody
        holds and nothing reads any more.
        """
        from torchdiff import _C

        wide = self.dtype is torch.float64  # half precision cannot tell the times of a fine grid apart
        like = torch.empty(self.shape[0], dtype=torch.float64 if wide else torch.float32)
        return _C.Walk(self.compiled, self.shape, self.code, like, wide, labels, self.fresh, rewrite).entries()

    @functools.cached_property
    def rows(self) -> Any:
        return self.walk([], rewrite=False)[2]

    def combine(self, index: int, tensors: Sequence[Any]) -> tuple[Tensor, ...] | None:
        """The rows of item `index`; None where one of the tensors is not plain."""
        return self.rows(index, tuple(tensors))

    def finite(self, x: Tensor) -> bool:
        """True only if x is plain and every value is finite."""
        usual = type(x) is Tensor and x.dtype is self.dtype and x.shape == self.shape and x.is_cpu
        return usual and x.is_contiguous() and not x.is_neg() and self.compiled.finite(x.data_ptr())


def _large_row(like: Tensor) -> Tensor:
    """A tensor in kept memory; see csrc/memory_cpu.h."""
    return torch.ops.torchdiff._rows_like.default(like, 1)[0]


def _table(plan: Plan) -> Any:
    """The weights of a plan and the slots of its items, compiled."""
    from torchdiff import _C

    table = _C.Table()
    known = strides(plan)
    for place, item in enumerate(plan.items):
        if isinstance(item, AffineStep):
            others, spent = (known[place].others, known[place].spent) if known else ((), ())
            slots = item.feed, item.reads, others, item.keep, spent
            table.add(item.table, len(item.weights), item.draws, *slots)
        else:
            table.add([], 0, (), (), (), (), (), ())  # keeps the numbers of the items
    return table


_tables = Recent(_table)


def program(plan: Plan, seeds: Tensor, first_index: int, place: Place) -> Program | None:
    """A program for this run, or None where the ops must do it: on a device, without the extension, under a mode."""
    usual = place.device.type == "cpu" and not torch.is_grad_enabled() and not ops.watched()
    if not usual or ops.backend().name != "extension" or 0 in place.shape:
        return None
    from torchdiff import _C

    if not _C.has_exchange():
        return None
    return Program(plan, seeds, first_index, place)
