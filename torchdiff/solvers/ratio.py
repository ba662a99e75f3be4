"""Moves in sigma / alpha: x / alpha follows eps alone, d(x / alpha) / d(sigma / alpha) = eps."""

from __future__ import annotations

import math
from typing import Any

from torchdiff.sde.base import Level, LinearSDE, ScalarSDE
from torchdiff.solvers.base import Predict, Span


def ratio(level: Level) -> float:
    return level.sigma / level.alpha


def level_of(sde: LinearSDE, ratio: float) -> Level:
    assert isinstance(sde, ScalarSDE)
    return sde.at(-math.log(ratio))


def slope_step(x: Any, cur: Level, alpha: float, width: float, eps: Any) -> Any:
    """alpha (x / alpha_cur + width eps): a step of `width` in sigma / alpha, in the units of alpha."""
    return (alpha / cur.alpha) * x + (alpha * width) * eps


def midpoint(x: Any, span: Span, predict: Predict, end: float) -> Any:
    """x at nxt's alpha after a midpoint step from cur to sigma / alpha = end."""
    cur = span.cur
    start = ratio(cur)
    middle = level_of(span.sde, math.sqrt(start * end))
    point = slope_step(x, cur, middle.alpha, ratio(middle) - start, predict(x, cur).eps)
    return slope_step(x, cur, span.nxt.alpha, end - start, predict(point, middle).eps)
