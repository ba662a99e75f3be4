"""A cubic spline on an even grid, in plain floats."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise


class Spline:
    """The C2 cubic through values at t = 0, 1/N, ..., 1, whose third derivative is continuous at t = 1/N and 1 - 1/N.

    values: at least 4. first: the slope at t = 0 by hand, in units of the first rise, in the place of the first of the
    two conditions.
    Source: de Boor 2001, A Practical Guide to Splines, chapter IV ("not-a-knot").
    """

    def __init__(self, values: Sequence[float], first: float | None = None) -> None:
        self.values, self.count = tuple(values), len(values) - 1
        n, rises = self.count, [b - a for a, b in pairwise(values)]
        # the slopes m_i (per interval) from m_{i-1} + 4 m_i + m_{i+1} = 3 (d_{i-1} + d_i), and the two end conditions
        # m_0 + 2 m_1 = (5 d_0 + d_1) / 2, and its mirror image
        low, mid, up = [1.0] * (n + 1), [4.0] * (n + 1), [1.0] * (n + 1)
        right = [0.0, *(3.0 * (a + b) for a, b in pairwise(rises)), 0.0]
        mid[0], up[0], right[0] = 1.0, 2.0, 0.5 * (5.0 * rises[0] + rises[1])
        if first is not None:
            up[0], right[0] = 0.0, first * rises[0]
        low[n], mid[n], right[n] = 2.0, 1.0, 0.5 * (5.0 * rises[-1] + rises[-2])
        for i in range(1, n + 1):
            share = low[i] / mid[i - 1]
            mid[i] -= share * up[i - 1]
            right[i] -= share * right[i - 1]
        slopes = [0.0] * (n + 1)
        slopes[n] = right[n] / mid[n]
        for i in range(n - 1, -1, -1):
            slopes[i] = (right[i] - up[i] * slopes[i + 1]) / mid[i]
        # value + s (a + s (b + s c)) with s in [0, 1] within the interval
        self.cubics = [
            (m, 3.0 * d - 2.0 * m - after, m + after - 2.0 * d)
            for m, after, d in zip(slopes[:-1], slopes[1:], rises, strict=True)
        ]

    @property
    def falls(self) -> bool:
        """Whether the slope is negative everywhere."""
        for a, b, c in self.cubics:
            turn = -b / (3.0 * c) if c != 0.0 else -1.0  # where the slope is extreme
            places = (0.0, 1.0, turn) if 0.0 < turn < 1.0 else (0.0, 1.0)
            if not all(a + s * (2.0 * b + 3.0 * c * s) < 0.0 for s in places):
                return False
        return True

    def _split(self, t: float) -> tuple[int, float]:
        """(interval, place within it); a time i / N is exactly at its knot."""
        whole = t * self.count
        knot = round(whole)
        if knot / self.count == t:
            return (knot, 0.0) if knot < self.count else (self.count - 1, 1.0)
        index = min(int(whole), self.count - 1)
        return index, whole - index

    def knot(self, t: float) -> int | None:
        """i where t is i / N, else None."""
        index = round(t * self.count)
        return index if index / self.count == t else None

    def value(self, t: float) -> float:
        index, s = self._split(t)
        if s == 1.0:
            return self.values[index + 1]
        return self.values[index] + self._gain(index, 0.0, s)

    def slope(self, t: float) -> float:
        """The derivative by t."""
        index, s = self._split(t)
        a, b, c = self.cubics[index]
        return self.count * (a + s * (2.0 * b + 3.0 * c * s))

    def change(self, start: float, end: float) -> float:
        """value(end) - value(start), start <= end: no digits are lost where the span is short."""
        (i, s), (j, r) = self._split(start), self._split(end)
        if i == j:
            # the places' difference from the times themselves: within one interval it is (end - start) N
            return self._gain(i, s, r, (end - start) * self.count)
        if i + 1 == j:
            return self._gain(i, s, 1.0) + self._gain(j, 0.0, r)
        return self._gain(i, s, 1.0) + (self.values[j] - self.values[i + 1]) + self._gain(j, 0.0, r)

    def _gain(self, index: int, s: float, r: float, width: float | None = None) -> float:
        a, b, c = self.cubics[index]
        return (r - s if width is None else width) * (a + b * (r + s) + c * (r * r + r * s + s * s))

    def time(self, value: float) -> float:
        """The inverse of `value` for a spline that falls: Newton's method within bisection, to the last bits."""
        index = bisect_left(range(1, self.count), True, key=lambda i: self.values[i] < value)
        target = value - self.values[index]
        a, b, c = self.cubics[index]
        low, high, s = 0.0, 1.0, 0.5
        for _ in range(200):
            miss = s * (a + s * (b + s * c)) - target
            low, high = (s, high) if miss > 0.0 else (low, s)
            new = s - miss / (a + s * (2.0 * b + 3.0 * c * s))
            new = new if low <= new <= high else 0.5 * (low + high)
            if abs(new - s) <= math.ulp(new):
                return (index + new) / self.count
            s = new
        return (index + s) / self.count
