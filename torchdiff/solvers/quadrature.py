"""Gauss-Legendre quadrature and Lagrange polynomials, on floats."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence


@functools.cache
def legendre(count: int) -> tuple[tuple[float, float], ...]:
    """Points and weights of Gauss-Legendre quadrature on [0, 1], by Newton's method on P_n."""
    found = []
    for i in range(count):
        x = math.cos(math.pi * (i + 0.75) / (count + 0.5))
        for _ in range(100):
            before, value = 1.0, x
            for k in range(2, count + 1):
                before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
            slope = count * (before - x * value) / (1.0 - x * x)
            x, old = x - value / slope, x
            if abs(x - old) < 1e-16:
                break
        found.append((0.5 * (1.0 + x), 1.0 / ((1.0 - x * x) * slope * slope)))
    return tuple(found)


def lagrange(places: Sequence[float], j: int, at: float) -> float:
    """L_j(at) of the Lagrange polynomials of these places."""
    return math.prod((at - p) / (places[j] - p) for i, p in enumerate(places) if i != j)


def composite(length: float) -> list[tuple[float, float]]:
    """Points and weights on [0, length], which may be negative: Gauss-Legendre on equal pieces, no wider than 1/2.

    To rounding for a function of log(sigma / alpha) that is analytic within pi / 2 of the real line, as powers of 1 + r
    and 1 + r^2 are. On a piece of width w the error of n points falls as (2 pi / w)^(-2n), by which n is chosen: 8 for
    1/2, 3 for 1e-2.
    """
    pieces = max(1, math.ceil(2.0 * abs(length)))
    width = length / pieces
    points = legendre(math.ceil(18.0 / math.log(2.0 * math.pi / abs(width))))  # e^-36 = 2e-16
    return [((i + at) * width, weight * width) for i in range(pieces) for at, weight in points]
