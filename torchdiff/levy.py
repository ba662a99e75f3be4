"""A Wiener process over an interval and its integral, from two normals: tensors and forms alike. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchdiff.sde.base import Level

Normals = Callable[["Level", "Level"], Any]


def pair(noise: Normals, start: Level, end: Level) -> tuple[Any, Any]:
    """(W, U) from two standard normals: W first, then the space-time Levy area H ~ N(0, h / 12), independent of it.

    U = h (W / 2 + H) is the integral of W - W(start) over the interval's length h, whichever way it goes.
    Source: Foster, Lyons & Oberhauser 2020, arXiv:1904.06998, definition 3.5.
    """
    h = abs(end.t - start.t)
    w, area = noise(start, end) * math.sqrt(h), noise(start, end) * math.sqrt(h / 12.0)
    return w, (w * 0.5 + area) * h


def joint(noise: Normals) -> Callable[[Level, Level], tuple[Any, Any]]:
    """noise.joint, or what does the same with a noise function that has none."""
    return getattr(noise, "joint", None) or (lambda start, end: pair(noise, start, end))
