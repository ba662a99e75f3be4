"""How multistep methods begin and end: single steps first, fewer predictions last."""

from __future__ import annotations

from typing import Any

from torchdiff.errors import OptionError
from torchdiff.solvers.base import Noise, Predict, Span
from torchdiff.solvers.exponential import between, data_step, decay, spread


def used(order: int, span: Span, lower_final: bool) -> int:
    """How many predictions a step uses: with lower_final no more than steps are left, so that the last one is DDIM."""
    return min(order, span.left + 1) if lower_final else order


def reached(order: int, start: str, lower_final: bool) -> float:
    """The order that is left of `order`: a first-order step at either end has an error of h^2, which no step mends."""
    return float(min(order, 2) if start == "lower" or lower_final else order)


def most_calls(order: int, start: str) -> int:
    """The network calls of the dearest step: of a start by single steps of one order less, and 2 at least."""
    return max(order - 1, 2) if start == "single" else 1


def begins(span: Span, start: str, least: int = 1) -> bool:
    """Whether this step is one of the single steps of a start, as long as it has fewer than `least` predictions.

    Where alpha = 0 or sigma = 0 an interval is infinitely long in log-SNR, and cannot be split.
    """
    return start == "single" and len(span.past) < least and span.cur.alpha > 0.0 and span.nxt.sigma > 0.0


def check_begin(name: str, start: str, order: int) -> None:
    """OptionError for a start of a method that has none."""
    if start == "single" and order == 1:
        raise OptionError(f"{name}: start = 'single' is for methods of several predictions; order 1 has no start")


def stages(
    x: Any, span: Span, predict: Predict, noise: Noise, eta: float, fractions: tuple[float, ...]
) -> tuple[Any, Any]:
    """(x at nxt, x0 at cur) by a single step with predictions at these fractions of the way.

    Each point is made from the first and the last prediction. The noise of a point is that of the point before carried
    on, and that of the way between: eta as in torchdiff.solvers.dpmpp_sde.
    """
    cur = before = span.cur
    x0, fresh = predict(x, cur).x0, None
    nodes = [(cur, x0)]
    for level in (*(between(span, fraction) for fraction in fractions), span.nxt):
        point = data_step(x, cur, level, nodes, eta)
        if eta > 0.0:
            new = spread(before, level, eta) * noise(before, level)
            fresh = new if fresh is None else decay(before, level, eta) * fresh + new
            point = point + fresh
        if level is not span.nxt:
            nodes = [nodes[0], (level, predict(point, level).x0)]
        before = level
    return point, x0
