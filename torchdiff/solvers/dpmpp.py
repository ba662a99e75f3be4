"""DPM-Solver++: exponential integrators in log-SNR on the data prediction, without noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.errors import OptionError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import LinearSDE, ScalarSDE
from torchdiff.solvers.base import AffineSolver, Carry, Noise, Predict, Span
from torchdiff.solvers.exponential import (
    between,
    check_compat,
    check_start,
    check_variant,
    data_step,
    halved_step,
    midway,
    rise,
    second_order,
)
from torchdiff.solvers.multistep import begins, most_calls, reached, used
from torchdiff.solvers.scalar import Noiseless


@SOLVERS.register("dpmpp_2m")
@dataclass(frozen=True)
class DPMpp2M(AffineSolver):
    """DPM-Solver++(2M): second order with one network call a step.

        x_nxt = sigma_nxt / sigma_cur x - alpha_nxt (e^{-h} - 1) d,   d = x0 + (x0 - x0_old) / (2r),   r = h_old / h

    h is the rise of log(alpha / sigma). variant "taylor" integrates the line through the two predictions exactly.
    start: the first step takes d = x0, which is DDIM ("lower"), or is dpmpp_2s with one more call ("single"). A step
    to sigma = 0 is DDIM's, and with lower_final the last one is, wherever it ends. Runs from data to noise too.
    Raises OptionError for another variant and another start.
    Source: Lu et al. 2022, arXiv:2211.01095, algorithm 2.
    """

    variant: str = "midpoint"
    start: str = "lower"
    lower_final: bool = False
    weak_order: ClassVar[float] = 2.0
    memory: ClassVar[int] = 1
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE
    ends: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_variant("dpmpp_2m", self.variant)
        check_start("dpmpp_2m", self.start)

    @property
    def calls(self) -> int:  # type: ignore[override]
        return most_calls(2, self.start)

    @property
    def deterministic(self) -> bool:
        return True

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        if begins(span, self.start):
            moved, x0 = second_order(x, span, predict, 0.5, self.variant)
            return Carry(moved, (cur, x0))
        x0 = predict(x, cur).x0
        memo = (cur, x0) if cur.alpha > 0.0 else None  # infinitely far away in log-SNR
        h = rise(cur, nxt)
        d = x0
        if span.past and nxt.sigma > 0.0 and used(2, span, self.lower_final) > 1:
            old, x0_old = span.past[0]
            if self.variant == "taylor":
                return Carry(data_step(x, cur, nxt, [(cur, x0), (old, x0_old)]), memo)
            r = rise(old, cur) / h
            d = (1.0 + 0.5 / r) * x0 - (0.5 / r) * x0_old
        return Carry((nxt.sigma / cur.sigma) * x - (nxt.alpha * math.expm1(-h)) * d, memo)


@SOLVERS.register("dpmpp_2s")
@dataclass(frozen=True)
class DPMpp2S(Noiseless):
    """DPM-Solver++(2S): second order, two network calls a step, the second at the fraction r of the way in log-SNR.

        x_nxt = sigma_nxt / sigma_cur x - alpha_nxt (e^{-h} - 1) d,   d = (1 - 1 / 2r) x0 + x0_r / 2r     "midpoint"

    variant "taylor" integrates the line through the two predictions exactly, x0 + (x0_r - x0) u / (r h).
    Raises OptionError for r outside (0, 1] and another variant.
    Source: Lu et al. 2022, arXiv:2211.01095, algorithm 1.
    """

    r: float = 0.5
    variant: str = "midpoint"
    weak_order: ClassVar[float] = 2.0
    calls: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_variant("dpmpp_2s", self.variant)
        if not 0.0 < self.r <= 1.0:
            raise OptionError(f"dpmpp_2s: r must lie in (0, 1], got {self.r!r}")

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        return second_order(x, span, predict, self.r, self.variant)[0]


@SOLVERS.register("dpmpp_3s")
@dataclass(frozen=True)
class DPMpp3S(Noiseless):
    """DPM-Solver++(3S): third order, three network calls a step, at 0, 1/3 and 2/3 of the way in log-SNR.

    Each stage integrates the polynomial through predictions exactly: x_1/3 from x0, x_2/3 from x0 and x0_1/3, x_nxt
    from x0 and x0_2/3, whose second difference vanishes at 2/3 to the order of the method.
    Source: Lu et al. 2022, arXiv:2206.00927, algorithm 2, on the data prediction (arXiv:2211.01095, appendix).
    """

    weak_order: ClassVar[float] = 3.0
    calls: ClassVar[int] = 3

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt, third, late = span.cur, span.nxt, between(span, 1.0 / 3.0), between(span, 2.0 / 3.0)
        x0 = predict(x, cur).x0
        first = predict(data_step(x, cur, third, [(cur, x0)]), third).x0
        second = predict(data_step(x, cur, late, [(cur, x0), (third, first)]), late).x0
        return data_step(x, cur, nxt, [(cur, x0), (late, second)])


@SOLVERS.register("dpmpp_3m")
@dataclass(frozen=True)
class DPMpp3M(AffineSolver):
    """DPM-Solver++(3M): exponential Adams-Bashforth of third order, one network call a step.

        x_nxt = sigma_nxt / sigma_cur x + alpha_nxt (M_0 x0 + M_1 D_1 + M_2 D_2 / 2)
        M_k = int_0^1 h e^{-h(1 - v)} v^k dv,
        x0 + D_1 v + D_2 v^2 / 2 is the parabola through the last three predictions, v = u / h

    start: "lower" takes DDIM and 2M in the first steps, and with them the order is 2; "single" takes one second-order
    single step first, one more call, and keeps order 3. lower_final: 2M and DDIM are the last steps, and the order 2.
    compat: "diffusers" and "k_diffusion" halve D_2 as their code does, which is of second order; with two predictions
    the former takes the midpoint of dpmpp_2m. None is right.
    Raises OptionError for another start or compat.
    Source: Lu et al. 2022, arXiv:2211.01095, with the second divided difference doubled (the paper's code lacks the 2).
    """

    start: str = "lower"
    lower_final: bool = False
    compat: str | None = None
    memory: ClassVar[int] = 2
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE

    def __post_init__(self) -> None:
        check_start("dpmpp_3m", self.start)
        check_compat("dpmpp_3m", self.compat)

    @property
    def calls(self) -> int:  # type: ignore[override]
        return most_calls(3, self.start)

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return reached(3 if self.compat is None else 2, self.start, self.lower_final)

    @property
    def deterministic(self) -> bool:
        return True

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        if begins(span, self.start):
            moved, x0 = second_order(x, span, predict, 0.5, "taylor")
            return Carry(moved, (span.cur, x0))
        x0 = predict(x, span.cur).x0
        nodes = [(span.cur, x0), *span.past][: used(3, span, self.lower_final)]
        memo = (span.cur, x0)
        if len(nodes) == 3 and self.compat is not None:
            return Carry(halved_step(x, span.cur, span.nxt, nodes), memo)
        if len(nodes) == 2 and self.compat == "diffusers":
            nodes = midway(span.cur, span.nxt, nodes)
        return Carry(data_step(x, span.cur, span.nxt, nodes), memo)
