"""Levenberg and Marquardt's method: the least sum of squares of residuals, by finite differences, deterministic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from torchdiff.errors import TorchdiffError
from torchdiff.gaussian.laws import Array

NUDGE = 1e-6  # of a number near 1: half of the digits of a float64, as a forward difference wants
ROUNDS, TRIES = 60, 10
SETTLED = 1e-5  # a round that gains less than this part of the sum of squares is the last


def descend(residuals: Callable[[Array], Array], start: Array, floor: float) -> tuple[Array, float]:
    """(numbers, sum of squares) from a start downhill; it ends below `floor`, where more would be of no use.

    residuals may raise a TorchdiffError for numbers that have none; such a step is not taken.
    """
    numbers, found = start, residuals(start)
    total, damping = float(found @ found), 1e-2
    for _ in range(ROUNDS):
        if total <= floor:
            break
        slopes = np.stack([(residuals(numbers + unit) - found) / NUDGE for unit in NUDGE * np.eye(start.size)], axis=1)
        downhill, curve = -slopes.T @ found, slopes.T @ slopes
        scale = np.diag(curve) + 1e-9 * np.trace(curve) + 1e-30  # a number that changes nothing stays where it is
        before = total
        for _ in range(TRIES):
            move = np.linalg.solve(curve + damping * np.diag(scale), downhill)
            move *= min(1.0, 1.0 / max(float(np.abs(move).max()), 1e-300))  # no step changes by more than e at once
            tried = _tried(residuals, numbers + move)
            if tried is not None and float(tried @ tried) < total:
                numbers, found, total = numbers + move, tried, float(tried @ tried)
                damping = max(0.2 * damping, 1e-9)
                break
            damping *= 5.0
        if before - total <= SETTLED * before:
            break
    return numbers, total


def _tried(residuals: Callable[[Array], Array], numbers: Array) -> Array | None:
    try:
        return residuals(numbers)
    except TorchdiffError:  # two times that are one to a float, a weight that is not finite
        return None
