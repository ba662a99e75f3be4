"""Explicit Runge-Kutta methods by their tableaus, in rationals."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple


class Tableau(NamedTuple):
    """Nodes c, the strictly lower rows of A, weights b, and the order. The nodes are the row sums."""

    rows: tuple[tuple[Fraction, ...], ...]
    weights: tuple[Fraction, ...]
    order: int

    @property
    def nodes(self) -> tuple[Fraction, ...]:
        return tuple(sum(row, Fraction(0)) for row in self.rows)


def _tableau(order: int, *rows: str) -> Tableau:
    """Rows of A from the second stage on, then b, as they stand in the books."""
    *upper, last = (tuple(map(Fraction, row.split())) for row in ("", *rows))
    return Tableau(tuple(upper), last, order)


# Hairer, Norsett & Wanner 1993, Solving Ordinary Differential Equations I, sections II.1 and II.5; Ralston 1962;
# Shu & Osher 1988 (ssp3); Butcher 1964 (butcher5)
TABLEAUS = {
    "euler": _tableau(1, "1"),
    "midpoint": _tableau(2, "1/2", "0 1"),
    "heun": _tableau(2, "1", "1/2 1/2"),
    "ralston": _tableau(2, "2/3", "1/4 3/4"),
    "kutta3": _tableau(3, "1/2", "-1 2", "1/6 2/3 1/6"),
    "heun3": _tableau(3, "1/3", "0 2/3", "1/4 0 3/4"),
    "ralston3": _tableau(3, "1/2", "0 3/4", "2/9 1/3 4/9"),
    "ssp3": _tableau(3, "1", "1/4 1/4", "1/6 1/6 2/3"),
    "rk4": _tableau(4, "1/2", "0 1/2", "0 0 1", "1/6 1/3 1/3 1/6"),
    "rk38": _tableau(4, "1/3", "-1/3 1", "1 -1 1", "1/8 3/8 3/8 1/8"),
    "butcher5": _tableau(
        5, "1/4", "1/8 1/8", "0 -1/2 1", "3/16 0 0 9/16", "-3/7 2/7 12/7 -12/7 8/7", "7/90 0 32/90 12/90 32/90 7/90"
    ),
    "dopri5": _tableau(
        5,
        "1/5",
        "3/40 9/40",
        "44/45 -56/15 32/9",
        "19372/6561 -25360/2187 64448/6561 -212/729",
        "9017/3168 -355/33 46732/5247 49/176 -5103/18656",
        "35/384 0 500/1113 125/192 -2187/6784 11/84",
    ),
}
