"""Normal laws of the n blocks, one for each eigenvalue of the data's covariance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from torchdiff.errors import OptionError, shown
from torchdiff.sde.base import Level, LinearSDE

Array = NDArray[np.float64]


class Affine(NamedTuple):
    """x_end = matrix x_start + shift + noise, noise ~ N(0, cov), per eigenvalue: (K, n, n), (K, n), (K, n, n)."""

    matrix: Array
    shift: Array
    cov: Array

    def apply(self, start: Gaussian) -> Gaussian:
        mean = np.einsum("kij,kj->ki", self.matrix, start.mean) + self.shift
        return Gaussian(mean, self.matrix @ start.cov @ self.matrix.transpose(0, 2, 1) + self.cov)


class Gaussian(NamedTuple):
    """Normal laws of the n blocks, one for each of K eigenvalues: mean (K, n), cov (K, n, n)."""

    mean: Array
    cov: Array

    @property
    def deviation(self) -> Array:
        """Standard deviation of the first block, the position, (K,)."""
        return np.sqrt(np.maximum(self.cov[:, 0, 0], 0.0))


def data(variance: ArrayLike, mean: ArrayLike = 0.0) -> tuple[Array, Array]:
    """Checked (variance, mean), each (K,): the eigenvalues of the data's covariance and its mean in that basis.

    Raises OptionError for no eigenvalue, one that is negative or not finite, and a mean of another shape.
    """
    try:
        var = np.atleast_1d(np.asarray(variance, dtype=np.float64))
        center = np.broadcast_to(np.asarray(mean, dtype=np.float64), var.shape)
    except (TypeError, ValueError):
        raise OptionError(
            f"data needs eigenvalues and a mean of one shape (K,), got {shown(variance)}, {shown(mean)}"
        ) from None
    fits = var.ndim == 1 and var.size > 0 and np.all(np.isfinite(center))
    if not fits or not np.all(np.isfinite(var)) or np.any(var < 0.0):
        raise OptionError(
            f"data needs finite eigenvalues >= 0, shape (K,) with K >= 1, and a finite mean, got {shown(variance)}, "
            f"{shown(mean)}"
        )
    return var, center


def marginal(sde: LinearSDE, level: Level, variance: ArrayLike, mean: ArrayLike = 0.0) -> Gaussian:
    """The exact law at a level of Gaussian data."""
    return at_level(level, *data(variance, mean))


def at_level(level: Level, var: Array, center: Array) -> Gaussian:
    """`marginal` of data that is checked."""
    if level.scalar:
        return Gaussian(level.alpha * center[:, None], (level.alpha**2 * var + level.sigma**2)[:, None, None])
    alpha, sigma = np.array(level.alpha), np.array(level.sigma)
    along = alpha[:, 0]  # the data is the first block
    return Gaussian(center[:, None] * along, var[:, None, None] * np.outer(along, along) + sigma @ sigma.T)


def prior(sde: LinearSDE, level: Level, variance: ArrayLike) -> Gaussian:
    """The law that sampling starts from at a level."""
    factor = np.array(sde.prior(level.t)).reshape(sde.blocks, sde.blocks)
    count = data(variance)[0].size
    return Gaussian(np.zeros((count, sde.blocks)), np.broadcast_to(factor @ factor.T, (count, *factor.shape)))
