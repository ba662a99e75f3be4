"""RES: exponential Runge-Kutta methods on the data prediction that keep the order conditions at every step size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.errors import OptionError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import Level
from torchdiff.solvers.base import Noise, Predict, Span
from torchdiff.solvers.exponential import between, phi, rise
from torchdiff.solvers.scalar import Noiseless


def res_2(h: float, c2: float) -> tuple[list[list[float]], list[float]]:
    """(rows of A from the second stage on, b) of the second-order method with node c2."""
    last = phi(2, -h) / c2
    return [[c2 * phi(1, -c2 * h)]], [phi(1, -h) - last, last]


def res_3(h: float, c2: float, c3: float) -> tuple[list[list[float]], list[float]]:
    """(rows of A from the second stage on, b) of the third-order method with nodes c2 and c3.

    gamma solves 2 (gamma c2 + c3) = 3 (gamma c2^2 + c3^2).
    """
    gamma = c3 * (3.0 * c3 - 2.0) / (c2 * (2.0 - 3.0 * c2))
    a32 = gamma * c2 * phi(2, -c2 * h) + c3 * c3 / c2 * phi(2, -c3 * h)
    last = phi(2, -h) / (gamma * c2 + c3)
    rows = [[c2 * phi(1, -c2 * h)], [c3 * phi(1, -c3 * h) - a32, a32]]
    return rows, [phi(1, -h) - (gamma + 1.0) * last, gamma * last, last]


def stages(x: Any, span: Span, predict: Predict, nodes: list[float], rows: list[list[float]], b: list[float]) -> Any:
    """x at nxt by the method with these nodes, rows of A and weights."""
    known = [predict(x, span.cur).x0]
    for c, row in zip(nodes, rows, strict=True):
        level = between(span, c)
        known.append(predict(reach(x, span, level, row, known), level).x0)
    return reach(x, span, span.nxt, b, known)


def reach(x: Any, span: Span, level: Level, row: list[float], known: list[Any]) -> Any:
    """sigma / sigma_cur x + alpha h sum_j a_j x0_j: x / sigma solves y' = -y + alpha / sigma x0, in units of sigma."""
    x = (level.sigma / span.cur.sigma) * x
    for weight, x0 in zip(row, known, strict=True):
        x = x + (level.alpha * rise(span.cur, span.nxt) * weight) * x0
    return x


def check_node(name: str, option: str, value: float) -> None:
    if not 0.0 < value <= 1.0:
        raise OptionError(f"{name}: {option} must lie in (0, 1], got {value!r}")


@SOLVERS.register("res_2")
@dataclass(frozen=True)
class RES2(Noiseless):
    """RES of second order: two network calls a step, the second at the fraction c2 of the way in log-SNR.

        b_2 = phi_2 / c2,   b_1 = phi_1 - b_2,   a_21 = c2 phi_1(-c2 h),   phi_k at -h

    The same plan as dpmpp_2s with r = c2 and variant "taylor"; "midpoint" has b_2 = phi_1 / (2 c2), which meets the
    condition b_2 c2 = phi_2 at h = 0 only. dpm_solver_2 is another method, on the noise prediction.
    Raises OptionError for c2 outside (0, 1].
    Source: Zhang et al. 2023, arXiv:2308.02157, algorithm 1 and table 3; Hochbruck & Ostermann 2005, SIAM J. Numer.
    Anal. 43, section 5.1.
    """

    c2: float = 0.5
    weak_order: ClassVar[float] = 2.0
    calls: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_node("res_2", "c2", self.c2)

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        return stages(x, span, predict, [self.c2], *res_2(rise(span.cur, span.nxt), self.c2))


@SOLVERS.register("res_3")
@dataclass(frozen=True)
class RES3(Noiseless):
    """RES of third order: three network calls a step, at 0, c2 and c3 of the way in log-SNR.

        b_3 = phi_2 / (g c2 + c3),   b_2 = g b_3,   b_1 = phi_1 - b_2 - b_3,   g = (3 c3^2 - 2 c3) / (c2 (2 - 3 c2))
        a_32 = g c2 phi_2(-c2 h) + c3^2 / c2 phi_2(-c3 h),   a_31 = c3 phi_1(-c3 h) - a_32

    c2 = 1/3 and c3 = 2/3 have g = 0, and are dpmpp_3s. ComfyUI's RES4LYF takes c3^3 for c3^2 in g, which is of order
    2 unless c3 = 1.
    Raises OptionError for a node outside (0, 1], c2 = 2/3 and c2 = c3, where the weights are infinite.
    Source: Zhang et al. 2023, arXiv:2308.02157, the third-order single step; Hochbruck & Ostermann 2005, SIAM J. Numer.
    Anal. 43, section 5.2.
    """

    c2: float = 0.5
    c3: float = 1.0
    weak_order: ClassVar[float] = 3.0
    calls: ClassVar[int] = 3

    def __post_init__(self) -> None:
        check_node("res_3", "c2", self.c2)
        check_node("res_3", "c3", self.c3)
        if self.c2 in (2.0 / 3.0, self.c3):
            raise OptionError(f"res_3: c2 must be neither 2/3 nor c3, got c2 = {self.c2!r}, c3 = {self.c3!r}")

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        return stages(x, span, predict, [self.c2, self.c3], *res_3(rise(span.cur, span.nxt), self.c2, self.c3))
