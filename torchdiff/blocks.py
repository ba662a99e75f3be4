"""Small fixed-size linear algebra on floats: the state of an n-block SDE, and the n x n matrices that act on it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any


class Blocks(tuple):
    """The state of an SDE with n > 1 blocks: n carriers (tensors or Forms) that add and scale together.

    A one-block state is the bare carrier, so formulas read the same for both.
    """

    __slots__ = ()

    def __add__(self, other: Any) -> Blocks:
        if not isinstance(other, tuple) or len(other) != len(self):
            return NotImplemented
        return Blocks(a + b for a, b in zip(self, other, strict=True))

    def __radd__(self, other: Any) -> Blocks:
        return self + other  # left to itself, a plain tuple in front would be concatenated

    def __sub__(self, other: Any) -> Blocks:
        if not isinstance(other, tuple) or len(other) != len(self):
            return NotImplemented
        return Blocks(a - b for a, b in zip(self, other, strict=True))

    def __mul__(self, number: Any) -> Blocks:  # a tuple would repeat itself
        return Blocks(a * number for a in self)

    __rmul__ = __mul__

    def __truediv__(self, number: float) -> Blocks:
        return Blocks(a / number for a in self)

    def __neg__(self) -> Blocks:
        return Blocks(-a for a in self)

    def __repr__(self) -> str:
        return f"Blocks({', '.join(map(repr, self))})"


def pack(carriers: Iterable[Any]) -> Any:
    """The state of these blocks: the bare carrier for one, Blocks for more."""
    blocks = Blocks(carriers)
    return blocks if len(blocks) > 1 else blocks[0]


def unpack(state: Any) -> tuple[Any, ...]:
    """The blocks of a state, one or more."""
    return tuple(state) if isinstance(state, Blocks) else (state,)


class Mat(tuple):
    """An n x n matrix of floats. `Mat @ x` acts on Blocks, and for n = 1 on the bare carrier.

    Entries that are exactly zero are skipped, so a block that is not read is not touched.
    """

    __slots__ = ()

    def __new__(cls, rows: Iterable[Iterable[float]]) -> Mat:
        return super().__new__(cls, (tuple(map(float, row)) for row in rows))

    @classmethod
    def diag(cls, *entries: float) -> Mat:
        n = len(entries)
        return cls([[entries[i] if i == j else 0.0 for j in range(n)] for i in range(n)])

    @property
    def T(self) -> Mat:
        return Mat(zip(*self, strict=True))

    def __add__(self, other: Any) -> Mat:
        return Mat([[a + b for a, b in zip(r, s, strict=True)] for r, s in zip(self, other, strict=True)])

    def __sub__(self, other: Any) -> Mat:
        return self + other * -1.0

    def __mul__(self, number: Any) -> Mat:
        return Mat([[a * number for a in row] for row in self])

    __rmul__ = __mul__

    def __neg__(self) -> Mat:
        return self * -1.0

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, Mat):
            columns = other.T
            return Mat([[math.fsum(a * b for a, b in zip(row, col, strict=True)) for col in columns] for row in self])
        if not isinstance(other, tuple):
            if len(self) != 1:
                raise TypeError(f"a {len(self)} x {len(self)} Mat acts on Blocks of {len(self)}, got one carrier")
            return other * self[0][0]
        return Blocks(_dot(row, other) for row in self)

    def cholesky(self) -> Mat:
        """The lower triangular L with L @ L.T = self, positive semi-definite (a zero pivot gives a zero column)."""
        n = len(self)
        low = [[0.0] * n for _ in range(n)]
        for j in range(n):
            pivot = self[j][j] - math.fsum(v * v for v in low[j][:j])
            low[j][j] = math.sqrt(max(pivot, 0.0))
            for i in range(j + 1, n):
                rest = self[i][j] - math.fsum(low[i][k] * low[j][k] for k in range(j))
                low[i][j] = rest / low[j][j] if low[j][j] > 0.0 else 0.0
        return Mat(low)

    def solve(self, right: Mat) -> Mat:
        """self^-1 @ right by Gauss elimination with row pivots. Raises ZeroDivisionError for a singular matrix."""
        n = len(self)
        rows = [[*self[i], *right[i]] for i in range(n)]
        for j in range(n):
            p = max(range(j, n), key=lambda i: abs(rows[i][j]))
            rows[j], rows[p] = rows[p], rows[j]
            rows[j] = [v / rows[j][j] for v in rows[j]]
            for i in range(n):
                if i != j:
                    rows[i] = [a - rows[i][j] * b for a, b in zip(rows[i], rows[j], strict=True)]
        return Mat(row[n:] for row in rows)

    def __repr__(self) -> str:
        return f"Mat({list(map(list, self))})"


def _dot(row: tuple[float, ...], blocks: tuple) -> Any:
    terms = [block * weight for weight, block in zip(row, blocks, strict=True) if weight != 0.0]
    if not terms:
        return blocks[0] * 0.0
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
