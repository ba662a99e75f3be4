"""UniPC: exponential Adams methods on the data prediction, with a corrector that costs no network call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.errors import OptionError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import Level, LinearSDE, ScalarSDE
from torchdiff.solvers.base import AffineSolver, Carry, Noise, Predict, Span
from torchdiff.solvers.exponential import Node, check_start, data_step, rise, second_order
from torchdiff.solvers.multistep import begins, check_begin, most_calls, reached, used


def _check(name: str, order: int, variant: str) -> None:
    if order not in (1, 2, 3):
        raise OptionError(f"{name}: order is 1, 2 or 3, got {order!r}")
    if variant not in ("bh1", "bh2"):
        raise OptionError(f"{name}: variant is 'bh1' or 'bh2', got {variant!r}")


def _halfway(x: Any, cur: Level, nxt: Level, node: Node, other: Node, variant: str) -> Any:
    """The step with two predictions and the paper's a_1 = 1/2 in the place of the exact weight.

    The second one enters with B(h) / 2 times its divided difference: B = e^{-h} - 1 in "bh2", -h in "bh1".
    """
    h, (_, m0), (level, m1) = rise(cur, nxt), node, other
    share = (-math.expm1(-h) if variant == "bh2" else h) * 0.5 * h / rise(cur, level)
    return data_step(x, cur, nxt, [node]) + (nxt.alpha * share) * (m1 - m0)


def _step(x: Any, cur: Level, nxt: Level, nodes: Sequence[Node], variant: str) -> Any:
    """UniP and UniC alike: nodes are the prediction at cur, then the others."""
    if len(nodes) == 2:
        return _halfway(x, cur, nxt, nodes[0], nodes[1], variant)
    return data_step(x, cur, nxt, nodes)


@SOLVERS.register("unip")
@dataclass(frozen=True)
class UniP(AffineSolver):
    """UniP-k, the predictor of UniPC alone: exponential Adams-Bashforth of `order` predictions, one call a step.

    order 2 with variant "bh2" is DPM-Solver++(2M), order 3 DPM-Solver++(3M) with the right factor.
    start: the first steps have fewer predictions ("lower", and order 3 falls to 2), or the first is a second-order
    single step with one more call ("single"). lower_final: the last steps use no more predictions than steps are left,
    and the order is 2 at most.
    Raises OptionError for an order that is none of 1, 2, 3, another variant, another start and a start of order 1.
    Source: Zhao et al. 2023, arXiv:2302.04867, algorithm 2 and section 3.
    """

    order: int = 2
    variant: str = "bh2"
    start: str = "lower"
    lower_final: bool = False
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE

    def __post_init__(self) -> None:
        _check("unip", self.order, self.variant)
        check_start("unip", self.start)
        check_begin("unip", self.start, self.order)

    @property
    def memory(self) -> int:  # type: ignore[override]
        return self.order - 1

    @property
    def calls(self) -> int:  # type: ignore[override]
        return most_calls(self.order, self.start)

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return reached(self.order, self.start, self.lower_final)

    @property
    def deterministic(self) -> bool:
        return True

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        if begins(span, self.start):
            moved, x0 = second_order(x, span, predict, 0.5, "midpoint" if self.order == 2 else "taylor")
            return Carry(moved, (span.cur, x0))
        x0 = predict(x, span.cur).x0
        nodes = [(span.cur, x0), *span.past][: used(self.order, span, self.lower_final)]
        return Carry(_step(x, span.cur, span.nxt, nodes, self.variant), (span.cur, x0) if self.memory else None)


@SOLVERS.register("unipc")
@dataclass(frozen=True)
class UniPC(AffineSolver):
    """UniPC-k: UniP-k, whose step is taken again by UniC-k with the prediction at its end. One network call a step.

    The prediction at x is made before x is corrected, and serves the next step too. The last step is not corrected.
    The corrector raises the order by one, to 3 at most: its first steps have fewer predictions, and it leaves nothing
    to a better start. lower_final: the last steps use no more predictions than steps are left, and the order is 2.
    Raises OptionError for an order that is none of 1, 2, 3 and another variant.
    Source: Zhao et al. 2023, arXiv:2302.04867, algorithms 1 and 2.
    """

    order: int = 2
    variant: str = "bh2"
    lower_final: bool = False
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE

    def __post_init__(self) -> None:
        _check("unipc", self.order, self.variant)

    @property
    def memory(self) -> int:  # type: ignore[override]
        return self.order

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return float(min(self.order + 1, 2 if self.lower_final else 3))  # of the last step, which is not corrected

    @property
    def deterministic(self) -> bool:
        return True

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        x0 = predict(x, span.cur).x0
        past = [(level, m) for level, m, _, _ in span.past]
        if span.past:
            before, _, x_before, count = span.past[0]
            nodes = [past[0], (span.cur, x0), *past[1:count]]
            x = _step(x_before, before, span.cur, nodes, self.variant)
        nodes = [(span.cur, x0), *past][: used(self.order, span, self.lower_final)]
        return Carry(_step(x, span.cur, span.nxt, nodes, self.variant), (span.cur, x0, x, len(nodes)))
