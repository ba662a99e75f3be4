"""What a plan does to Gaussian data with the exact score: mean, covariance and W2, exactly, without sampling.

A plan is executed on coefficient vectors instead of tensors: each carrier holds, for each eigenvalue of the data's
covariance, its coefficients on the starting state, on every draw and on 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.execute import Network, execute
from torchdiff.plans import Plan
from torchdiff.sde.base import Level, LinearSDE
from torchdiff.steps import AffineStep, OpaqueStep, slots_after

Array = NDArray[np.float64]
Item = AffineStep | OpaqueStep


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


def data(variance: ArrayLike, mean: ArrayLike = 0.0) -> tuple[Array, Array]:
    """Checked (variance, mean), each (K,): the eigenvalues of the data's covariance and its mean in that basis."""
    try:
        var = np.atleast_1d(np.asarray(variance, dtype=np.float64))
        center = np.broadcast_to(np.asarray(mean, dtype=np.float64), var.shape)
    except (TypeError, ValueError):
        raise OptionError(f"data needs eigenvalues and a mean of one shape (K,), got {variance!r}, {mean!r}") from None
    if var.ndim != 1 or not np.all(np.isfinite(var)) or np.any(var < 0.0) or not np.all(np.isfinite(center)):
        raise OptionError(
            f"data needs finite eigenvalues >= 0, shape (K,), and a finite mean, got {variance!r}, {mean!r}"
        )
    return var, center


def marginal(sde: LinearSDE, level: Level, variance: ArrayLike, mean: ArrayLike = 0.0) -> Gaussian:
    """The exact law at a level of Gaussian data."""
    return _marginal(level, *data(variance, mean))


def _marginal(level: Level, var: Array, center: Array) -> Gaussian:
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


def push(plan: Plan, variance: ArrayLike, mean: ArrayLike = 0.0) -> Affine:
    """The exact map of a plan on data N(mean, variance) with the exact network, whatever that predicts.

    Raises IncompatibleError for a plan with a step that is no weighted sum: that one needs sampling.
    """
    var, center = data(variance, mean)
    network = _network(var, center)
    size, count = plan.blocks, var.size
    none = np.zeros((count, size, size))
    total = Affine(none + np.eye(size), none[:, 0], none)
    for items, result in _chunks(plan):
        part = _push(replace(plan, items=items, result=result), network, total.shift.shape[1], count)
        start = Gaussian(total.shift, total.cov)
        total = Affine(part.matrix @ total.matrix, *part.apply(start))
    return total


def _chunks(plan: Plan) -> Iterator[tuple[tuple[Item, ...], tuple[int, ...]]]:
    """The plan in pieces that share no draw, and the slots to hand over: vectors stay short for long plans too."""
    last = {draw: i for i, item in enumerate(plan.items) for draw in getattr(item, "draws", ())}
    first, busy = 0, -1
    for i, item in enumerate(plan.items):
        busy = max([busy, *(last[draw] for draw in getattr(item, "draws", ()))])
        if i + 1 == len(plan.items):
            yield plan.items[first:], plan.result
        elif i - first >= 31 and busy <= i:  # 31: numpy calls and columns of draws cost about the same
            yield plan.items[first : i + 1], tuple(range(slots_after(item, plan.blocks)))
            first = i + 1


def _push(plan: Plan, network: Network, size: int, count: int) -> Affine:
    """The map of a piece of a plan, from `size` state slots to its result, for `count` eigenvalues."""
    found = _rows(plan, network, size, count)
    fresh = found[:, :, size:-1]
    return Affine(found[:, :, :size], found[:, :, -1], fresh @ fresh.transpose(0, 2, 1))


def rows(plan: Plan, variance: ArrayLike, mean: ArrayLike = 0.0) -> Array:
    """The map of `push` draw by draw, (K, n, n + draws + 1): on the start, on each of plan.draws, and on 1."""
    var, center = data(variance, mean)
    return _rows(plan, _network(var, center), plan.blocks, var.size)


def _rows(plan: Plan, network: Network, size: int, count: int) -> Array:
    columns = {draw: size + i for i, draw in enumerate(plan.draws)}
    width = size + len(columns) + 1

    def combine(index: int, step: AffineStep, tensors: Sequence[Any]) -> list[Array]:
        rows = []
        for weights, noise in zip(step.weights, step.noise, strict=True):
            row = weights[0] * tensors[0]
            for weight, tensor in zip(weights[1:], tensors[1:], strict=True):
                row += weight * tensor
            for weight, draw in zip(noise, step.draws, strict=True):
                row[:, columns[draw]] += weight
            rows.append(row)
        return rows

    def opaque(step: OpaqueStep, x: Any) -> Any:
        raise IncompatibleError(f"{step.part!r} is not a weighted sum of its inputs: its error needs sampling")

    start = [np.broadcast_to(np.eye(1, width, slot), (count, width)) for slot in range(size)]
    return np.stack(execute(plan, start, network, combine, opaque), axis=1)


def _network(var: Array, center: Array) -> Network:
    """The exact network for N(center, var) as a map of coefficient vectors."""

    def network(inputs: Any, step: AffineStep, state: Any) -> list[Array]:
        level = step.at
        assert level is not None
        law = _marginal(level, var, center)
        away = [x / step.scale for x in inputs]
        for x, mean in zip(away, law.mean.T, strict=True):
            x[:, -1] -= mean
        if level.scalar:  # E[x0 | x] and E[eps | x] of a normal law
            (u, w), (_, alpha, sigma) = step.meaning, level
            output = away[0] * ((u * alpha * var + w * sigma) / law.cov[:, 0, 0])[:, None]
            output[:, -1] += u * center
        else:
            own, factor = step.meaning
            score = np.einsum("kb,kbd->kd", -np.linalg.inv(law.cov)[:, -1, :], np.stack(away, axis=1))
            output = (score - own * inputs[-1] / step.scale) / factor
        one = max(range(len(step.mix)), key=lambda k: abs(step.mix[k]))  # what they add up to is all that has a law
        return [output / step.mix[k] if k == one else output * 0.0 for k in range(len(step.mix))]

    return network


def moments(plan: Plan, variance: ArrayLike, mean: ArrayLike = 0.0, *, start: str = "prior") -> Gaussian:
    """Mean and covariance of what a plan returns; start: "prior" as `sample` does, or the exact "marginal"."""
    if start not in ("prior", "marginal"):
        raise OptionError(f"start is 'prior' or 'marginal', got {start!r}")
    first = prior(plan.sde, plan.grid[0], variance)
    if start == "marginal":
        first = marginal(plan.sde, plan.grid[0], variance, mean)
    return push(plan, variance, mean).apply(first)


def w2(plan: Plan, variance: ArrayLike, mean: ArrayLike = 0.0, *, start: str = "prior") -> float:
    """Wasserstein-2 distance between what a plan returns (the position) and the data N(mean, variance).

    W2^2 = sum over eigenvalues of (difference of means)^2 + (difference of standard deviations)^2: both covariances
    share their eigenvectors (Gelbrich 1990). In units of the data.
    """
    var, center = data(variance, mean)
    if plan.grid[0].t < plan.grid[-1].t:
        raise OptionError("this plan encodes: what it returns is noise, not data; see moments")
    law = moments(plan, var, center, start=start)
    spread = np.sqrt(np.maximum(law.cov[:, 0, 0], 0.0)) - np.sqrt(var)
    return math.sqrt(float(np.sum((law.mean[:, 0] - center) ** 2 + spread**2)))
