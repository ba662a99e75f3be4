"""Multistep methods on the noise prediction: d(x / alpha) / d(sigma / alpha) = eps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.errors import OptionError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import Level
from torchdiff.solvers.base import Carry, Noise, Predict, Span
from torchdiff.solvers.exponential import Node, between, check_start, noise_step, rise
from torchdiff.solvers.multistep import begins, check_begin, most_calls, reached, used
from torchdiff.solvers.quadrature import lagrange, legendre
from torchdiff.solvers.ratio import ratio, slope_step
from torchdiff.solvers.scalar import Noiseless

POINTS = 24  # of Gauss-Legendre: 2e-14 of the weights where 2 steps go all the way of VP, 1e-15 where 10 do


def transfer(x: Any, span: Span, eps: Any) -> Any:
    """x at nxt along a constant eps: DDIM."""
    return slope_step(x, span.cur, span.nxt.alpha, ratio(span.nxt) - ratio(span.cur), eps)


def _in_ratio(span: Span, at: float) -> tuple[float, float]:
    """(sigma / alpha, its derivative by `at`) at the fraction `at` of the step."""
    start, width = ratio(span.cur), ratio(span.nxt) - ratio(span.cur)
    return start + at * width, width


def _in_time(span: Span, at: float) -> tuple[float, float]:
    """(t, the derivative of sigma / alpha by `at`) at the fraction `at` of the step in log-SNR.

    By t itself the integrand would have a singular end: sigma is the root of t near the data of VP.
    """
    level = between(span, at)
    return level.t, -rise(span.cur, span.nxt) * ratio(level)


COORDINATES: dict[str, tuple[Callable[[Level], float], Callable[[Span, float], tuple[float, float]]]] = {
    "t": (lambda level: level.t, _in_time),
    "rho": (ratio, _in_ratio),
}


def polynomial_step(x: Any, span: Span, nodes: Sequence[Node], basis: str) -> Any:
    """x at nxt, eps being the polynomial in the basis' coordinate through the nodes."""
    cur, nxt = span.cur, span.nxt
    if basis == "log_snr":
        return noise_step(x, cur, nxt, nodes)
    place, along = COORDINATES[basis]
    places, sums = [place(level) for level, _ in nodes], [0.0] * len(nodes)
    for at, weight in legendre(POINTS if basis == "t" else 2):  # two points are exact for the cubics of four nodes
        coordinate, speed = along(span, at)
        for j in range(len(nodes)):
            sums[j] += weight * speed * lagrange(places, j, coordinate)
    x = (nxt.alpha / cur.alpha) * x
    for total, (_, eps) in zip(sums, nodes, strict=True):
        x = x + (nxt.alpha * total) * eps
    return x


def single_step(x: Any, span: Span, predict: Predict, order: int) -> tuple[Any, Any]:
    """(x at nxt, eps at cur) by DPM-Solver of order 2 or 3: the start of a multistep method."""
    cur = span.cur
    first = predict(x, cur).eps
    nodes: list[Node] = [(cur, first)]
    for fraction in (0.5,) if order == 2 else (1.0 / 3.0, 2.0 / 3.0):
        level = between(span, fraction)
        nodes = [nodes[0], (level, predict(noise_step(x, cur, level, nodes), level).eps)]
    return noise_step(x, cur, span.nxt, nodes), first


@dataclass(frozen=True)
class _Multistep(Noiseless):
    """A deterministic method that remembers eps. It runs to sigma = 0 by its own formula."""

    ends: ClassVar[bool] = True

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        if cur.alpha == 0.0:  # infinitely far away in sigma / alpha: DDIM, of which nothing is remembered
            model = predict(x, cur)
            return nxt.alpha * model.x0 + nxt.sigma * model.eps
        return self.inside(x, span, predict)

    @abstractmethod
    def inside(self, x: Any, span: Span, predict: Predict) -> Carry:
        """The step from a level with alpha > 0."""


@dataclass(frozen=True)
class _Polynomial(_Multistep):
    """What the methods share that integrate the polynomial through the last `order` predictions."""

    order: int = 4
    start: str = "lower"

    def __post_init__(self) -> None:
        name = type(self).__name__.lower()
        _check_order(name, self.order)
        check_start(name, self.start)
        check_begin(name, self.start, self.order)

    @property
    def memory(self) -> int:  # type: ignore[override]
        return self.order - 1

    @property
    def calls(self) -> int:  # type: ignore[override]
        return most_calls(self.order, self.start)

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return reached(self.order, self.start, False)

    def begin(self, x: Any, span: Span, predict: Predict) -> Carry | None:
        """The step of a start by single steps, or None where the polynomial through what there is does."""
        order = max(self.order - 1, 2)
        if not begins(span, self.start, order - 1):
            return None
        moved, eps = single_step(x, span, predict, order)
        return Carry(moved, (span.cur, eps))


def _check_order(name: str, order: int) -> None:
    if order not in (1, 2, 3, 4):
        raise OptionError(f"{name}: order is from 1 to 4, got {order!r}")


@SOLVERS.register("deis")
@dataclass(frozen=True)
class DEIS(_Polynomial):
    """DEIS: eps as the polynomial through the last `order` predictions, integrated exactly; one network call a step.

        x_nxt = alpha_nxt (x / alpha_cur + int_cur^nxt eps d(sigma / alpha))

    basis: the polynomial is in "t" (tAB), in "rho" = sigma / alpha (rhoAB), which runs to sigma = 0 too, or in
    "log_snr". start: the first steps have fewer predictions ("lower", of order 2 then), or are single steps of enough
    order with more calls ("single"). lower_final: the last steps use no more predictions than steps are left, and the
    order is 2 at most.
    Raises OptionError for an order outside 1..4, another basis, another start and a start of order 1.
    Source: Zhang & Chen 2023, arXiv:2204.13902, eqs. 14 and 15; quadrature to rounding where their code takes 10,000
    rectangles.
    """

    order: int = 3
    basis: str = "t"
    start: str = "lower"
    lower_final: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.basis not in (*COORDINATES, "log_snr"):
            raise OptionError(f"deis: basis is 't', 'rho' or 'log_snr', got {self.basis!r}")

    @property
    def ends(self) -> bool:  # type: ignore[override]
        return self.basis == "rho"

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return reached(self.order, self.start, self.lower_final)

    def inside(self, x: Any, span: Span, predict: Predict) -> Carry:
        if (begun := self.begin(x, span, predict)) is not None:
            return begun
        eps = predict(x, span.cur).eps
        nodes = [(span.cur, eps), *span.past][: used(self.order, span, self.lower_final)]
        return Carry(polynomial_step(x, span, nodes, self.basis), (span.cur, eps) if self.memory else None)


@SOLVERS.register("lms")
@dataclass(frozen=True)
class LMS(_Polynomial):
    """Linear multistep: Adams-Bashforth of the last `order` slopes on the true, uneven grid of sigma / alpha.

    The same plan as deis with basis "rho". start as there.
    Raises OptionError for an order outside 1..4, another start and a start of order 1.
    Source: k-diffusion's sample_lms; Hairer, Norsett & Wanner 1993, section III.5, Adams on variable steps.
    """

    def inside(self, x: Any, span: Span, predict: Predict) -> Carry:
        if (begun := self.begin(x, span, predict)) is not None:
            return begun
        eps = predict(x, span.cur).eps
        moved = polynomial_step(x, span, [(span.cur, eps), *span.past][: self.order], "rho")
        return Carry(moved, (span.cur, eps) if self.memory else None)


# Adams-Bashforth on an even grid (Hairer, Norsett & Wanner 1993, table III.1.1), newest first
EVEN = {
    1: (1.0,),
    2: (3.0 / 2.0, -1.0 / 2.0),
    3: (23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0),
    4: (55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0),
}


def even(eps: Any, span: Span, order: int) -> Any:
    """The sum of the last predictions with the weights of an even grid."""
    known = [eps, *(old for _, old in span.past)][:order]
    total = known[0] * EVEN[len(known)][0]
    for weight, old in zip(EVEN[len(known)][1:], known[1:], strict=True):
        total = total + old * weight
    return total


@SOLVERS.register("ipndm")
@dataclass(frozen=True)
class IPNDM(_Multistep):
    """iPNDM: DDIM's step with the Adams-Bashforth sum of an even grid for eps, whatever the grid. Order 2 at most.

    Raises OptionError for an order outside 1..4.
    Source: Zhang & Chen 2023, arXiv:2204.13902, section 4.4; Liu et al. 2022, arXiv:2202.09778, eq. 12.
    """

    order: int = 4

    def __post_init__(self) -> None:
        _check_order("ipndm", self.order)

    @property
    def memory(self) -> int:  # type: ignore[override]
        return self.order - 1

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return float(min(self.order, 2))

    def inside(self, x: Any, span: Span, predict: Predict) -> Carry:
        eps = predict(x, span.cur).eps
        return Carry(transfer(x, span, even(eps, span, self.order)), (span.cur, eps) if self.memory else None)


@SOLVERS.register("plms")
@dataclass(frozen=True)
class PLMS(_Multistep):
    """PLMS (PNDM without its Runge-Kutta start): as ipndm of order 4, the first step by the mean of eps at both ends.

    The first step has two network calls. Order 2: the sum is that of an even grid.
    Source: Liu et al. 2022, arXiv:2202.09778, eqs. 11 and 12; the start of Stable Diffusion's code.
    """

    weak_order: ClassVar[float] = 2.0
    memory: ClassVar[int] = 3
    calls: ClassVar[int] = 2

    def inside(self, x: Any, span: Span, predict: Predict) -> Carry:
        cur, nxt = span.cur, span.nxt
        eps = predict(x, cur).eps
        if not span.past and nxt.sigma > 0.0:
            ahead = predict(transfer(x, span, eps), nxt).eps
            return Carry(transfer(x, span, 0.5 * eps + 0.5 * ahead), (cur, eps))
        return Carry(transfer(x, span, even(eps, span, 4)), (cur, eps))
