"""Mixtures of Gaussians, in any dimension."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from torchdiff.errors import OptionError
from torchdiff.registry import TARGETS
from torchdiff.targets.base import Target

if TYPE_CHECKING:
    from torch import Tensor

    from torchdiff.targets.components import Components


class MixtureTarget(Target):
    """A law that is a mixture of Gaussians: a subclass says weights, means and covariances, the rest follows.

    E[x0 | y] = sum_k r_k (m_k + C_k (C_k + sigma^2)^-1 (y - m_k)),  r_k ~ w_k N(y; m_k, C_k + sigma^2)
    """

    metrics: ClassVar[tuple[str, ...]] = ("sliced_w2", "energy", "modes", "w2", "mmd", "ks", "c2st")

    @abstractmethod
    def parts(self) -> tuple[Any, Any, Any]:
        """Weights (K,), means (K, D), covariances: a variance, or (K, D) along the axes, or (K, D, D)."""

    @cached_property
    def components(self) -> Components:
        from torchdiff.targets.components import Components

        return Components.of(*self.parts())

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.components.means.shape[1],)

    def draw(self, count: int, seed: Any, first_index: int) -> Tensor:
        return self.components.draw(count, seed, first_index)

    def posterior_mean(self, y: Tensor, sigma: Tensor) -> Tensor:
        return self.components.posterior_mean(y, sigma)

    def moments(self) -> tuple[Tensor, Tensor]:
        return self.components.moments()

    def mode_weights(self) -> Tensor:
        """(K,) float64, their sum 1."""
        return self.components.weights

    def mode_of(self, x: Tensor) -> Tensor:
        """(B,) int64: the component that x (B, *shape) most probably came from."""
        return self.components.mode_of(x.reshape(len(x), -1).double())


@TARGETS.register("gmm2d")
@dataclass(frozen=True)
class GMM2D(MixtureTarget):
    """Equal Gaussians on a circle in the plane; about unit variance.

    modes: how many; radius: of the circle; spread: the standard deviation of each.
    Raises OptionError for fewer than one mode, a spread that is not positive and a negative radius.
    """

    modes: int = 8
    radius: float = 1.4
    spread: float = 0.1

    def __post_init__(self) -> None:
        if self.modes < 1 or self.radius < 0.0 or not 0.0 < self.spread < math.inf:
            raise OptionError(f"gmm2d needs modes >= 1, radius >= 0 and spread > 0, got {self!r}")

    def parts(self) -> tuple[Any, Any, Any]:
        turns = [2.0 * math.pi * k / self.modes for k in range(self.modes)]
        means = [[self.radius * math.cos(a), self.radius * math.sin(a)] for a in turns]
        return [1.0 / self.modes] * self.modes, means, self.spread**2
