"""The shortest way through a run on the CPU: rows and checks by addresses, where nothing about the tensors is unusual.

torch's dispatcher takes 4 us for a call with a list of tensors, ten times what the sums of a small batch take. Here
every tensor is looked at in Python, and what is not plain, contiguous and of the state's shape and dtype is left to the
op; so is everything while torch records, traces, or has a mode that wants to see each op.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from torchdiff import ops
from torchdiff.inputs import Place
from torchdiff.plans import Plan
from torchdiff.steps import AffineStep

_CODES = {torch.float16: 5, torch.float32: 6, torch.float64: 7, torch.bfloat16: 15}  # c10::ScalarType


class Program:
    """The affine items of a plan for one run; see csrc/program.h."""

    def __init__(self, plan: Plan, seeds: Tensor, first_index: int, place: Place) -> None:
        from torchdiff import _C

        self.shape, self.dtype = torch.Size(place.shape), place.dtype
        event = math.prod(place.shape[1:])
        self.compiled = _C.Program(place.shape[0], event, _CODES[place.dtype], seeds.tolist(), first_index)
        self.rows: list[int] = []
        for item in plan.items:
            if isinstance(item, AffineStep):
                self.compiled.add(item.table, len(item.reads), len(item.weights), item.draws)
            else:
                self.compiled.add([], 0, 0, ())  # keeps the numbers of the items
            self.rows.append(len(item.weights) if isinstance(item, AffineStep) else 0)

    def plain(self, t: Tensor) -> bool:
        """Whether the values of t lie as the compiled code will read them."""
        return (
            type(t) is Tensor
            and t.dtype is self.dtype
            and t.shape == self.shape
            and t.is_cpu
            and t.is_contiguous()
            and not t.is_neg()
        )

    def combine(self, index: int, tensors: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], bool] | None:
        """The rows of item `index`, and True only if all tensors are finite; None where one of them is not plain."""
        for t in tensors:
            if not self.plain(t):
                return None
        first = tensors[0]
        rows = tuple([torch.empty_like(first) for _ in range(self.rows[index])])
        return rows, self.compiled.run(index, tuple([t.data_ptr() for t in (*tensors, *rows)]))

    def finite(self, x: Tensor) -> bool:
        """True only if x is plain and every value is finite."""
        return self.plain(x) and self.compiled.finite(x.data_ptr())


def program(plan: Plan, seeds: Tensor, first_index: int, place: Place) -> Program | None:
    """A program for this run, or None where the ops must do it: on a device, without the extension, under a mode."""
    usual = place.device.type == "cpu" and not torch.is_grad_enabled() and not ops.watched()
    if not usual or ops.backend().name != "extension" or 0 in place.shape:
        return None
    return Program(plan, seeds, first_index, place)
