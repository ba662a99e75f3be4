"""The linear part of a reverse SDE of several blocks over one step, exactly, in coordinates in which Sigma is 1.

    dx = (F x - kappa G G^T score) dt + eta G dw,   kappa = (1 + eta^2) / 2,   noise in the last block alone
    score of the last block = a . x + b n,   n being what the step holds

Sigma = L L^T is the level's covariance. In y = L^-1 x the linear part is y' = A y: above the diagonal A is L^-1 F L,
below it minus its mirror image, because L^-1 L' is the lower half of what Lyapunov's equation says, and last on the
diagonal stands (kappa' - 1/2) nu, nu = (G / L_last)^2, kappa' = kappa where a x is that of -Sigma^-1 x and 0 where a is
0. A grows as 1 / t towards the data, so the clock is log t. It is solved in pieces over which A acts a few times,
by collocation at 8 points of Gauss, order 16: to 1e-14, and the noise of short spans to its own digits.
Source: Zhang, Tao & Chen 2022, arXiv:2206.05564, section 4; Hairer & Wanner 1996, Solving Ordinary Differential
Equations II, section IV.5 (collocation).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from torchdiff.blocks import Mat
from torchdiff.sde.base import Level, LinearSDE
from torchdiff.solvers.quadrature import lagrange, legendre

STAGES = 8
ACTS, WIDE = 4.0, 2.0  # of one piece: the integral of |A|, and how far log t moves; 6 still gives 1e-15, 10 1e-12


class Reading(NamedTuple):
    """score of the last block = own . x + factor n at one level; own has a number a block."""

    own: tuple[float, ...]
    factor: float


class Flow(NamedTuple):
    """x_nxt = mean x + sum_j pulls[j] n_j + noise z: pulls[j] has a number a block, noise is upper triangular."""

    mean: Mat
    pulls: tuple[tuple[float, ...], ...]
    noise: Mat


def reading(level: Level, hold: str) -> Reading:
    """n is "x0", E[x0 | x], of which score = -Sigma^-1 (x - alpha x0); or "eps", of which score = -n / L_last."""
    low = level.sigma[-1][-1]
    if hold == "eps":
        return Reading((0.0,) * len(level.sigma), -1.0 / low)
    row = [value / low for value in inverse(level.sigma)[-1]]  # of Sigma^-1
    return Reading(tuple(-v for v in row), math.fsum(r * line[0] for r, line in zip(row, level.alpha, strict=True)))


def flow(sde: LinearSDE, cur: Level, nxt: Level, eta: float, hold: str, times: Sequence[float]) -> Flow:
    """The step from cur to nxt, neither at t = 0; n is the polynomial in t with the value n_j at times[j]."""
    import numpy as np

    kappa = 0.5 * (1.0 + eta * eta)
    levels, spans = _stages(sde, cur, nxt)
    fresh = np.array([math.fsum(v * v for v in sde.noise(level.t)[-1]) for level in levels])
    low = np.array([level.sigma[-1][-1] for level in levels])
    rates = np.array([turning(sde, level) for level in levels])
    rates[:, -1, -1] = ((kappa if hold == "x0" else 0.0) - 0.5) * fresh / low**2
    along, end = _collocate(rates, np.array(spans))
    factor = np.array(nxt.sigma)
    spent = np.array(spans) * np.tile([weight for _, weight in legendre(STAGES)], len(levels) // STAGES)
    last = along[:, :, -1] @ factor.T  # what becomes of the last unit vector of each stage, at nxt
    cov = eta * eta * np.einsum("j,jp,jq->pq", spent * fresh / low**2, last, last)
    told = kappa * spent * fresh / low * np.array([reading(level, hold).factor for level in levels])
    shares = [[lagrange(times, j, level.t) for level in levels] for j in range(len(times))]
    pulls = (told * np.array(shares)) @ last
    mean = Mat((factor @ end).tolist()) @ inverse(cur.sigma)
    if hold == "x0":  # mean alpha_cur + sum of the pulls = alpha_nxt: known better than Sigma^-1 near the data
        pulls[0] += (np.array(nxt.alpha) - np.array(mean) @ np.array(cur.alpha))[:, 0] - pulls.sum(axis=0)
    return Flow(mean, tuple(map(tuple, pulls.tolist())), upper(Mat(cov.tolist())))


def turning(sde: LinearSDE, level: Level) -> Mat:
    """The antisymmetric part of A: L^-1 F L above the diagonal."""
    whole = inverse(level.sigma) @ sde.drift(level.t) @ level.sigma
    n = range(len(whole))
    return Mat([[whole[i][j] if i < j else -whole[j][i] if j < i else 0.0 for j in n] for i in n])


def _stages(sde: LinearSDE, cur: Level, nxt: Level) -> tuple[list[Level], list[float]]:
    """The levels of all stages from nxt to cur, and dt / dc of each, c in [0, 1] being its piece's own clock."""
    high, low = max(cur.t, nxt.t), min(cur.t, nxt.t)
    whole = math.log1p((high - low) / low)
    down = [0.0]  # log t below high where the pieces meet
    while down[-1] < whole:
        level = sde.level(high * math.exp(-down[-1]))
        strength = math.fsum(v * v for v in sde.noise(level.t)[-1]) / level.sigma[-1][-1] ** 2
        acts = level.t * (strength + max(sum(map(abs, row)) for row in turning(sde, level)))
        down.append(min(whole, down[-1] + min(WIDE, ACTS / acts)))
    edges = [-part for part in down] if nxt.t == high else [whole - part for part in reversed(down)]
    levels, spans = [], []
    for start, end in pairwise(edges):
        times = [nxt.t * math.exp(start + point * (end - start)) for point, _ in legendre(STAGES)]
        levels += map(sde.level, times)
        spans += [t * (end - start) for t in times]
    return levels, spans


@functools.cache
def _tableau() -> Any:
    """a_ij of the method of Gauss: the integral of L_j from 0 to c_i, for which its own points are exact."""
    import numpy as np

    points = [point for point, _ in legendre(STAGES)]
    rows = [
        [c * math.fsum(w * lagrange(points, j, c * at) for at, w in legendre(STAGES)) for j in range(STAGES)]
        for c in points
    ]
    return np.array(rows)


def _collocate(rates: Any, spans: Any) -> tuple[Any, Any]:
    """Y(nxt, tau) at each stage, (stages, n, n), and at cur; dY / dtau = -Y A."""
    import numpy as np

    n, tableau = rates.shape[1], _tableau()
    weights = np.array([weight for _, weight in legendre(STAGES)])
    moves = (spans[:, None, None] * rates).reshape(-1, STAGES, n, n)  # pieces, stages
    system = np.einsum("ij,kjqp->kipjq", tableau, moves).reshape(-1, STAGES * n, STAGES * n) + np.eye(STAGES * n)
    ones = np.tile(np.eye(n), (STAGES, 1))
    inner = np.linalg.solve(system, np.broadcast_to(ones, (len(moves), *ones.shape)))
    inner = inner.reshape(-1, STAGES, n, n).transpose(0, 1, 3, 2)
    ends = np.eye(n) - np.einsum("j,kjrq,kjqp->krp", weights, inner, moves)
    along, total = [], np.eye(n)
    for piece, end in zip(inner, ends, strict=True):
        along.append(total @ piece)
        total = total @ end
    return np.concatenate(along), total


def inverse(low: Mat) -> Mat:
    """L^-1 of a lower triangular L, row by row: pivots would cost small rows their digits."""
    rows: list[list[float]] = []
    for i, line in enumerate(low):
        unit = [float(i == j) for j in range(len(low))]
        rows.append([(unit[j] - math.fsum(line[k] * rows[k][j] for k in range(i))) / line[i] for j in range(len(low))])
    return Mat(rows)


def upper(cov: Mat) -> Mat:
    """The upper triangular U with U U^T = cov: the last block, which noise drives, has its own normals alone."""
    turned = Mat([row[::-1] for row in cov[::-1]]).cholesky()
    return Mat([row[::-1] for row in turned[::-1]])
