"""What a plan does to Gaussian data with the exact network, without sampling.

A plan is executed on coefficient vectors instead of tensors: each carrier holds, for each eigenvalue of the data's
covariance, its coefficients on the starting state, on every draw and on 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from torchdiff.errors import IncompatibleError
from torchdiff.execute import Network, execute
from torchdiff.gaussian.laws import Affine, Array, Gaussian, at_level, data
from torchdiff.plans import Plan
from torchdiff.steps import AffineStep, OpaqueStep, slots_after

Item = AffineStep | OpaqueStep


def push(plan: Plan, variance: ArrayLike, mean: ArrayLike = 0.0) -> Affine:
    """The exact map of a plan on data N(mean, variance) with the exact network, whatever that predicts.

    Raises IncompatibleError for a plan with a step that is no weighted sum: that one needs sampling.
    """
    var, center = data(variance, mean)
    network = exact(var, center)
    size, count = plan.blocks, var.size
    none = np.zeros((count, size, size))
    total = Affine(none + np.eye(size), none[:, 0], none)
    # numpy calls and columns of draws cost about the same: for few eigenvalues, or no draws, pieces may be longer
    for items, result in pieces(plan, 8 if count >= 64 and plan.draws else 32):
        part = _push(replace(plan, items=items, result=result), network, total.shift.shape[1], count)
        start = Gaussian(total.shift, total.cov)
        total = Affine(part.matrix @ total.matrix, *part.apply(start))
    return total


def pieces(plan: Plan, length: int) -> Iterator[tuple[tuple[Item, ...], tuple[int, ...]]]:
    """The plan in pieces of `length` items or more that share no draw, and the slots to hand over."""
    last = {draw: i for i, item in enumerate(plan.items) for draw in getattr(item, "draws", ())}
    first, busy = 0, -1
    for i, item in enumerate(plan.items):
        busy = max([busy, *(last[draw] for draw in getattr(item, "draws", ()))])
        if i + 1 == len(plan.items):
            yield plan.items[first:], plan.result
        elif i + 1 - first >= length and busy <= i:
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
    return _rows(plan, exact(var, center), plan.blocks, var.size)


def path(plan: Plan, variance: ArrayLike, mean: ArrayLike, start: Gaussian) -> list[Gaussian]:
    """The law at the end of each interval that the plan shows (all of them, if it was traced to be watched)."""
    var, center = data(variance, mean)
    size = plan.blocks
    found: list[Gaussian] = []

    def after(step: int, blocks: tuple[Array, ...]) -> None:
        here = np.stack(blocks, axis=1)
        fresh = here[:, :, size:-1]
        found.append(Affine(here[:, :, :size], here[:, :, -1], fresh @ fresh.transpose(0, 2, 1)).apply(start))

    _rows(plan, exact(var, center), size, var.size, after)
    return found


def _rows(plan: Plan, network: Network, size: int, count: int, after: Any = None) -> Array:
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
    return np.stack(execute(plan, start, network, combine, opaque, after), axis=1)


def exact(var: Array, center: Array) -> Network:
    """The exact network for N(center, var) as a map of coefficient vectors."""

    def network(inputs: Any, step: AffineStep, state: Any) -> list[Array]:
        level = step.at
        assert level is not None
        law = at_level(level, var, center)
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
