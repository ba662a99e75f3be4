"""The laws of small targets as sums of Gaussians and points, for what the tests compute from them by other routes."""

from __future__ import annotations

import functools

import mpmath as mp
import numpy as np
import torch

import torchdiff
from torchdiff.targets import Empirical, Mixture

FULL = Mixture(
    [2.0, 1.0], [[-1.0, 0.3], [0.8, -0.2]], [[[0.3, 0.1], [0.1, 0.2]], [[0.05, -0.04], [-0.04, 0.1]]]
)  # fmt: skip
POINTS = Empirical(torch.tensor(np.random.default_rng(0).normal(size=(20, 2))))
SMALL = {
    **{
        spec: torchdiff.get_target(spec)
        for spec in ("gaussian:dim=2", "gmm2d:modes=3", "gmm:dim=2,modes=3", "moons:points=16", "rings:points=18",
                     "swiss_roll:points=16", "checkerboard")
    },
    "mixture": FULL,
    "round": Mixture([3.0, 1.0, 2.0], [[-0.5, 0.0], [0.4, 0.6], [0.2, -0.9]], 0.04),
    "empirical": POINTS,
}  # fmt: skip


def board_points(target, count=60):
    """Gauss points of each black field, (weights, points): for smooth functions their mean is that over the board."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    edges = np.array(target.edges)
    side = edges[1] - edges[0]
    u, w = side * 0.5 * (nodes + 1.0), 0.5 * weights
    found = [
        np.stack(np.meshgrid(edges[i] + u, edges[j] + u, indexing="ij"), axis=-1).reshape(-1, 2)
        for i, j in target.fields()
    ]
    return np.tile(np.outer(w, w).ravel(), len(found)) / len(found), np.concatenate(found)


@functools.cache
def parts(name):
    """Weights (K,), means (K, 2), covariances (K, 2, 2) or None for points, as torch float64."""
    target = SMALL[name]
    if name == "checkerboard":
        w, m = board_points(target)
        return torch.tensor(w), torch.tensor(m), None
    if name == "empirical":
        m = torch.as_tensor(target.data)
        return torch.full((len(m),), 1.0 / len(m), dtype=torch.float64), m, None
    w, m, c = (torch.as_tensor(part, dtype=torch.float64) for part in target.parts())
    if c.dim() == 0:
        c = c * torch.eye(2, dtype=torch.float64).expand(len(m), 2, 2)
    elif c.dim() == 2:
        c = torch.diag_embed(c)
    return w / w.sum(), m, c


def log_density(name, along, noise, z):
    """log p(z) of z = along x0 + noise eps in n blocks: along (n,), noise (n, n), z (n, 2); up to a constant."""
    w, m, c = parts(name)
    cov = noise @ noise.T
    if c is None:
        away = torch.linalg.solve_triangular(
            torch.linalg.cholesky(cov), z - along[:, None] * m[:, None, :], upper=False
        )
        return torch.logsumexp(w.log() - 0.5 * away.square().sum((1, 2)), 0)
    joint = torch.einsum("i,j,kde->kidje", along, along, c) + torch.einsum("ij,de->idje", cov, torch.eye(2).double())
    size = 2 * len(along)
    means = (along[:, None] * m[:, None, :]).reshape(-1, size)
    normal = torch.distributions.MultivariateNormal(means, joint.reshape(-1, size, size))
    return torch.logsumexp(w.log() + normal.log_prob(z.reshape(size)), 0)


def mp_posterior_mean(weights, means, covariances, y, sigma):
    """sum_k r_k (m_k + C_k (C_k + sigma^2)^-1 (y - m_k)) in 50 digits, as floats; means (K, D), D any."""
    with mp.workdps(50):
        total, mean, dim = mp.mpf(0), None, len(means[0])
        logs, moved = [], []
        for w, m, c in zip(weights, means, covariances, strict=True):
            seen = mp.matrix(c) + mp.mpf(sigma) ** 2 * mp.eye(dim)
            away = mp.matrix([mp.mpf(a) - mp.mpf(b) for a, b in zip(y, m, strict=True)])
            solved = mp.lu_solve(seen, away)
            logs.append(mp.log(w) - (away.T * solved)[0] / 2 - mp.log(mp.det(seen)) / 2)
            moved.append(mp.matrix(m) + mp.matrix(c) * solved)
        top = max(logs)
        for log, place in zip(logs, moved, strict=True):
            r = mp.exp(log - top)
            total, mean = total + r, r * place if mean is None else mean + r * place
        return [float(v / total) for v in mean]
