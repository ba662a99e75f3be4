"""What a network's output means, the input as it is and time as t."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torchdiff.conventions.base import CONVENTIONS, Convention, last_noise, over_sigma
from torchdiff.sde.base import Level


@CONVENTIONS.register("eps")
@dataclass(frozen=True)
class Eps(Convention):
    """The noise: output = eps. For several blocks the normal of the last one, score = -eps / sigma[n][n]."""

    def meaning(self, level: Level) -> tuple[float, float]:
        return 0.0, 1.0

    def block(self, level: Level) -> tuple[float, float]:
        return 0.0, -1.0 / last_noise(level, "an eps")


@CONVENTIONS.register("x0")
@dataclass(frozen=True)
class X0(Convention):
    """The data: output = x0."""

    def meaning(self, level: Level) -> tuple[float, float]:
        return 1.0, 0.0


@CONVENTIONS.register("v")
@dataclass(frozen=True)
class V(Convention):
    """The angular velocity: output = alpha eps - sigma x0.

    Source: Salimans & Ho 2022, arXiv:2202.00512, appendix D.
    """

    def meaning(self, level: Level) -> tuple[float, float]:
        return -level.sigma, level.alpha


@CONVENTIONS.register("score")
@dataclass(frozen=True)
class Score(Convention):
    """The score: output = grad log p = -eps / sigma. For several blocks that of the last one."""

    def meaning(self, level: Level) -> tuple[float, float]:
        return 0.0, -over_sigma(level, "a score")

    def block(self, level: Level) -> tuple[float, float]:
        return 0.0, 1.0


@CONVENTIONS.register("energy")
@dataclass(frozen=True)
class Energy(Convention):
    """An energy: net(x, t) = E (B,) or (B, 1) with p = exp(-E) / Z, so the score is -dE/dx, taken by autograd.

    For several blocks the derivative by the last one. Where the network gets c x, E is a function of c x, and the
    factor c of the chain rule is in the plan.
    """

    gradient: ClassVar[bool] = True

    def meaning(self, level: Level) -> tuple[float, float]:
        return 0.0, over_sigma(level, "an energy")

    def block(self, level: Level) -> tuple[float, float]:
        return 0.0, -1.0


@CONVENTIONS.register("flow")
@dataclass(frozen=True)
class Flow(Convention):
    """The velocity of the straight path, from data to noise: output = eps - x0.

    Source: Liu et al. 2023, arXiv:2209.03003, eq. 1, with data at t = 0.
    """

    def meaning(self, level: Level) -> tuple[float, float]:
        return -1.0, 1.0
