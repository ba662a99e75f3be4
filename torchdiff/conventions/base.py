"""What a word like "eps" or "edm" says of a network: what its output means, and how it wants time and input."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable
from typing import ClassVar

from torchdiff.errors import IncompatibleError
from torchdiff.registry import Registry
from torchdiff.sde.base import Level


def _sigma(level: Level) -> float:
    return math.inf if level.half_log_snr == -math.inf else level.sigma / level.alpha


def _unit(level: Level) -> float:
    _one_block(level, "unit")
    return (level.alpha**2 + level.sigma**2) ** -0.5


def _data(level: Level) -> float:
    _one_block(level, "data")
    if level.alpha == 0.0:
        raise IncompatibleError(
            f"input_scale 'data' is 1 / alpha, and alpha = 0 at t = {level.t:g}; start below (t_max)"
        )
    return 1.0 / level.alpha


def _one_block(level: Level, name: str) -> None:
    if not level.scalar:
        raise IncompatibleError(f"input_scale {name!r} needs one block, the level at t = {level.t:g} has more")


TIMES: dict[str, Callable[[Level], float]] = {
    "t": lambda level: level.t,
    "index": lambda level: 1000.0 * level.t - 1.0,
    "reversed": lambda level: 1.0 - level.t,
    "sigma": _sigma,
    "log_snr": lambda level: 2.0 * level.half_log_snr,
    "c_noise": lambda level: -0.25 * level.half_log_snr,
}
SCALES: dict[str, Callable[[Level], float]] = {"none": lambda level: 1.0, "unit": _unit, "data": _data}


class Convention(ABC):  # noqa: B024  # meaning or block, or both: which one is not known here
    """With x = alpha x0 + sigma eps at a level, the network is called net(scale x, label) and returns u x0 + w eps.

    meaning: (u, w) for a one-block SDE. block: (own, factor) for an SDE of several blocks, whose last one is driven by
    noise: its score is own * last block + factor * output.
    label and scale are what the network gets unless the user's `time` and `input_scale` say otherwise.
    gradient: True if the network is an energy E (B,), and the output that is meant here dE / d(what it was given).
    A method that a convention does not have raises IncompatibleError.
    """

    gradient: ClassVar[bool] = False

    def meaning(self, level: Level) -> tuple[float, float]:
        raise IncompatibleError(f"prediction {CONVENTIONS.label(self)!r} has no meaning for an SDE with one block")

    def block(self, level: Level) -> tuple[float, float]:
        raise IncompatibleError(
            f"prediction {CONVENTIONS.label(self)!r} has no meaning for an SDE with {len(level.alpha)} blocks"
        )

    def label(self, level: Level) -> float:
        return level.t

    def scale(self, level: Level) -> float:
        return 1.0


def over_sigma(level: Level, kind: str) -> float:
    """1 / sigma. Raises IncompatibleError where sigma is 0, naming the kind of network."""
    if level.sigma == 0.0:
        raise IncompatibleError(f"{kind} network cannot be read at t = {level.t:g}, where sigma = 0")
    return 1.0 / level.sigma


def last_noise(level: Level, kind: str) -> float:
    """The standard deviation of the last block given the others. Raises IncompatibleError where it is 0.

    The factor is lower triangular, so the last row of its inverse transpose is 1 / this.
    """
    last = level.sigma[-1][-1]
    if last == 0.0:
        raise IncompatibleError(f"{kind} network cannot be read at t = {level.t:g}, where the last block has no noise")
    return last


CONVENTIONS: Registry[Convention] = Registry(
    "convention", "torchdiff.conventions", ("torchdiff.conventions",), "torchdiff.conventions.base:Convention"
)
