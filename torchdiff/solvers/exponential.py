"""Exponential integrators in log-SNR: the linear part of a step exactly, the network's part as a polynomial.

With l = log(alpha / sigma), h its rise from cur to nxt, and the reverse SDE whose noise is tau times the usual one,

    x_nxt = sigma_nxt / sigma_cur e^{-tau^2 h} x + alpha_nxt int_0^h p e^{-p (h - u)} x0(l_cur + u) du
            + sigma_nxt sqrt(1 - e^{-2 tau^2 h}) z,        p = 1 + tau^2
    x_nxt = alpha_nxt / alpha_cur x + sigma_nxt int_0^h q e^{-q (h - u)} eps(l_cur + u) du,      q = -1, tau = 0

Source: Lu et al. 2022, arXiv:2211.01095, eqs. 8 and 16 (tau = 0, 1); Xue et al. 2023, arXiv:2309.05019, eq. 14 (any
tau).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torchdiff.amounts import not_negative
from torchdiff.errors import OptionError
from torchdiff.sde.base import Level, ScalarSDE
from torchdiff.solvers.base import Predict, Span

# Below it phi_k is its series, above it the recursion from e^y loses at most the factor k! / 2^k, 1.5 for k = 4.
_SERIES = 2.0

Node = tuple[Level, Any]  # a level, and what the network said there


def phi(k: int, y: float) -> float:
    """phi_k(y) = int_0^1 e^{(1 - v) y} v^{k - 1} / (k - 1)! dv, phi_0 = e^y, to a few ulp.

    Source: Hochbruck & Ostermann 2010, Acta Numerica 19, eq. 2.6.
    """
    if k == 0:
        return math.exp(y)
    if k == 1 and y != 0.0:
        return math.expm1(y) / y
    if abs(y) < _SERIES:
        term = 1.0 / math.factorial(k)
        total, n = term, k
        while abs(term) > 1e-18 * abs(total):
            n += 1
            term *= y / n
            total += term
        return total
    return (phi(k - 1, y) - 1.0 / math.factorial(k - 1)) / y


def moments(z: float, count: int) -> list[float]:
    """int_0^1 z e^{-z (1 - v)} v^k dv for k = 0 ... count - 1."""
    return [z * math.factorial(k) * phi(k + 1, -z) for k in range(count)]


def weights(nodes: Sequence[float], h: float, rate: float) -> list[float]:
    """int_0^h rate e^{-rate (h - u)} L_j(u) du for the Lagrange polynomials L_j of the nodes, which are values of u."""
    places = [node / h for node in nodes]
    known = moments(rate * h, len(places))
    return [math.fsum(c * m for c, m in zip(_lagrange(places, j), known, strict=True)) for j in range(len(places))]


def _lagrange(places: Sequence[float], j: int) -> list[float]:
    """The coefficients of the polynomial that is 1 at places[j] and 0 at the others, lowest power first."""
    poly = [1.0]
    for i, place in enumerate(places):
        if i != j:
            gap = places[j] - place
            poly = [(low - place * high) / gap for low, high in zip([0.0, *poly], [*poly, 0.0], strict=True)]
    return poly


def rise(start: Level, end: Level) -> float:
    """h: how far log(alpha / sigma) rises."""
    return end.half_log_snr - start.half_log_snr


def between(span: Span, fraction: float) -> Level:
    """The level at this fraction of the way from cur to nxt, in log-SNR."""
    assert isinstance(span.sde, ScalarSDE)
    if fraction == 1.0:  # cur + 1 * (nxt - cur) may round to a log-SNR that lies outside the process
        return span.nxt
    return span.sde.at(span.cur.half_log_snr + fraction * rise(span.cur, span.nxt))


def data_step(x: Any, cur: Level, nxt: Level, nodes: Sequence[Node], tau2: float = 0.0) -> Any:
    """The mean of x at nxt, x0 being the polynomial in log-SNR through the nodes."""
    return pull(decay(cur, nxt, tau2) * x, cur, nxt, nodes, tau2)


def decay(cur: Level, nxt: Level, tau2: float = 0.0) -> float:
    """The weight of x in the step."""
    return nxt.sigma / cur.sigma * math.exp(-tau2 * rise(cur, nxt))


def pull(x: Any, cur: Level, nxt: Level, nodes: Sequence[Node], tau2: float = 0.0) -> Any:
    """x and what the network adds in the step."""
    parts = weights([rise(cur, level) for level, _ in nodes], rise(cur, nxt), 1.0 + tau2)
    for weight, (_, x0) in zip(parts, nodes, strict=True):
        x = x + (nxt.alpha * weight) * x0
    return x


def halved_step(x: Any, cur: Level, nxt: Level, nodes: Sequence[Node], tau2: float = 0.0) -> Any:
    """data_step through three nodes with half the second divided difference: what DPM-Solver's code has, order 2."""
    h = rise(cur, nxt)
    _, first, second = moments((1.0 + tau2) * h, 3)
    curved = bend(h, cur, nodes)
    (_, m0), (one, m1), _ = nodes
    r0 = rise(one, cur) / h
    slope = (m0 - m1) * (1.0 / r0) + curved * r0
    return data_step(x, cur, nxt, nodes[:1], tau2) + (nxt.alpha * first) * slope + (0.5 * nxt.alpha * second) * curved


def bend(h: float, cur: Level, nodes: Sequence[Node]) -> Any:
    """The second divided difference of three predictions in units of h: h^2 x0'' / 2 at cur."""
    (_, m0), (one, m1), (two, m2) = nodes
    r0, r1 = rise(one, cur) / h, rise(two, one) / h
    return ((m0 - m1) * (1.0 / r0) - (m1 - m2) * (1.0 / r1)) * (1.0 / (r0 + r1))


def midway(cur: Level, nxt: Level, nodes: Sequence[Node]) -> list[Node]:
    """The line through two predictions in the middle of the step: the prediction of the midpoint variants."""
    (_, x0), (old, x0_old) = nodes
    half = 0.5 * rise(cur, nxt) / rise(old, cur)
    return [(cur, (1.0 + half) * x0 - half * x0_old)]


def second_order(x: Any, span: Span, predict: Predict, r: float, variant: str) -> tuple[Any, Any]:
    """(x at nxt, x0 at cur) by a single step of second order."""
    cur, nxt, middle = span.cur, span.nxt, between(span, r)
    x0 = predict(x, cur).x0
    ahead = predict(data_step(x, cur, middle, [(cur, x0)]), middle).x0
    if variant == "taylor":
        return data_step(x, cur, nxt, [(cur, x0), (middle, ahead)]), x0
    return data_step(x, cur, nxt, [(cur, (1.0 - 0.5 / r) * x0 + (0.5 / r) * ahead)]), x0


def noise_step(x: Any, cur: Level, nxt: Level, nodes: Sequence[Node]) -> Any:
    """x at nxt, eps being the polynomial in log-SNR through the nodes; no noise is added."""
    h = rise(cur, nxt)
    x = (nxt.alpha / cur.alpha) * x
    parts = weights([rise(cur, level) for level, _ in nodes], h, -1.0)
    for weight, (_, eps) in zip(parts, nodes, strict=True):
        x = x + (nxt.sigma * weight) * eps
    return x


def spread(cur: Level, nxt: Level, tau2: float) -> float:
    """The standard deviation of the noise that a step adds."""
    return nxt.sigma * math.sqrt(-math.expm1(-2.0 * tau2 * rise(cur, nxt)))


def check_variant(name: str, variant: str) -> None:
    if variant not in ("midpoint", "taylor"):
        raise OptionError(f"{name}: variant is 'midpoint' or 'taylor', got {variant!r}")


def check_start(name: str, start: str) -> None:
    if start not in ("lower", "single"):
        raise OptionError(f"{name}: start is 'lower' or 'single', got {start!r}")


def check_compat(name: str, compat: str | None) -> None:
    if compat not in (None, "diffusers", "k_diffusion"):
        raise OptionError(f"{name}: compat is 'diffusers', 'k_diffusion' or none, got {compat!r}")


def check_amount(name: str, option: str, value: float) -> None:
    not_negative(f"{name}: {option}", value)
