"""Mean map and covariance of a linear process of n blocks, by SciPy, over any span.

A span is cut into pieces over which F acts a few times, and the pieces are composed: E = E2 E1, Q = E2 Q1 E2^T + Q2,
sums of what is positive. Within a piece an entry's error is held to RTOL of itself or of the most that F and G G^T
without their signs build up there. So small blocks keep their relative accuracy (a position driven through its velocity
has dt^3), and an entry that vanishes, because it decays or because two paths cancel, asks for no steps without end.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

from torchdiff.sde.numeric import RTOL, TINY, solve

Matrices = Callable[[float], tuple[Any, Any]]  # t -> F, G G^T as n x n arrays
GROWTH, DECAY = 2.0, 8.0  # of one piece
HALVINGS = 40  # of the table's first piece: down to 1e-12 of it a level is read, below it is solved by itself


class Kernel(NamedTuple):
    """Mean map E and covariance Q of one span, n x n arrays."""

    mean: Any
    cov: Any

    def then(self, later: Kernel) -> Kernel:
        return Kernel(later.mean @ self.mean, later.mean @ self.cov @ later.mean.T + later.cov)


def kernel(matrices: Matrices, start: float, end: float) -> Kernel:
    """The kernel of [start, end], start < end."""
    times = _cuts(matrices, start, end)
    whole, *rest = (_piece(matrices, a, b)[0] for a, b in pairwise(times))
    for later in rest:
        whole = whole.then(later)
    return whole


class Table:
    """The kernels of all [0, t], t up to `end`, solved once."""

    def __init__(self, matrices: Matrices, end: float) -> None:
        self.matrices = matrices
        cuts = _cuts(matrices, 0.0, end)
        # each piece of the first halves is as long as what lies before it, so its errors are small beside that
        self.times = [cuts[1] * 0.5**k for k in range(HALVINGS, 0, -1)] + cuts[1:]
        self.before = [kernel(matrices, 0.0, self.times[0])]
        self.dense: list[Any] = []
        for a, b in pairwise(self.times):
            piece, solution = _piece(matrices, a, b, widest=end / 128.0)
            self.before.append(self.before[-1].then(piece))
            self.dense.append(solution)

    def at(self, t: float) -> Kernel:
        """The kernel of [0, t], t > 0."""
        i = bisect_right(self.times, t) - 1
        if i < 0:
            return kernel(self.matrices, 0.0, t)
        if self.times[i] == t or i == len(self.dense):
            return self.before[i]
        return self.before[i].then(_unpack(self.dense[i](t)))


def _cuts(matrices: Matrices, start: float, end: float) -> list[float]:
    """Times from start to end between which a state grows by GROWTH at most and decays by DECAY, as logarithms."""
    import numpy as np

    width = end - start
    drifts = [matrices(start + width * i / 8.0)[0] for i in range(9)]
    grows = max(float(_metzler(drift).sum(axis=1).max()) for drift in drifts)
    acts = max(float(np.abs(drift).sum(axis=1).max()) for drift in drifts)
    count = max(1, math.ceil(width * grows / GROWTH), math.ceil(width * acts / DECAY))
    return [*(start + width * i / count for i in range(count)), end]


def _metzler(drift: Any) -> Any:
    """F with |F_ij| off its diagonal: y' = M y is never below |x| where x' = F x."""
    import numpy as np

    return np.where(np.eye(len(drift), dtype=bool), drift, abs(drift))


def _piece(matrices: Matrices, start: float, end: float, widest: float | None = None) -> tuple[Kernel, Any]:
    """The kernel of one piece, and where `widest` is given its dense solution by steps of that at most."""
    import numpy as np
    from scipy.linalg import expm

    width = end - start
    samples = [matrices(t) for t in (start, start + 0.5 * width, end)]
    drift = np.max([_metzler(drift) for drift, _ in samples], axis=0)
    fresh = np.max([abs(fresh) for _, fresh in samples], axis=0)
    most = expm(drift * width)
    floor = RTOL * np.concatenate([most.ravel(), (width * most @ fresh @ most.T).ravel()]) + TINY

    def rule(t: float, y: Any) -> Any:
        drift, fresh = matrices(min(t, end))
        mean, cov = _unpack(y)
        along = drift @ cov
        return np.concatenate([(drift @ mean).ravel(), (along + along.T + fresh).ravel()])

    first = np.concatenate([np.eye(len(drift)).ravel(), np.zeros(drift.size)])
    # the dense output is of order 7, the steps are of order 8: it wants shorter ones
    acts = max(float(abs(drift).sum(axis=1).max()) for drift, _ in samples)
    longest = np.inf if widest is None else min(widest, 0.5 / acts if acts > 0.0 else np.inf)
    found = solve(rule, start, end, first, "F(t), G(t)", widest is not None, floor, longest)
    return _unpack(found.y[:, -1]), found.sol


def _unpack(y: Any) -> Kernel:
    n = math.isqrt(len(y) // 2)
    return Kernel(*y.reshape(2, n, n))
