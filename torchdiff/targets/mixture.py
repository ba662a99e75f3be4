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

    modal: ClassVar[bool] = True  # whether the components are modes, to be counted
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

    def posterior_shift(self, y: Tensor, sigma: Tensor) -> Tensor:
        return self.components.posterior_shift(y, sigma)

    def moments(self) -> tuple[Tensor, Tensor]:
        return self.components.moments()

    def mode_weights(self) -> Tensor:
        """(K,) float64, their sum 1."""
        return self.components.weights

    def mode_of(self, x: Tensor) -> Tensor:
        """(B,) int64: the component that x (B, *shape) most probably came from."""
        return self.components.mode_of(x.reshape(len(x), -1).double())


@dataclass(frozen=True, eq=False)
class Mixture(MixtureTarget):
    """A mixture of given Gaussians; no name of a registry, an object to give where a target goes.

    weights (K,), positive, normalised here; means (K, D); covariances: one variance for all, (K,), (K, D) along the
    coordinates or (K, D, D).
    Raises OptionError for what is no mixture, as `Components.of` says.
    """

    weights: Any
    means: Any
    covariances: Any

    def __post_init__(self) -> None:
        self.components  # noqa: B018  # checks them

    def parts(self) -> tuple[Any, Any, Any]:
        return self.weights, self.means, self.covariances

    def __repr__(self) -> str:
        return f"Mixture({len(self.components.weights)} modes in {self.shape[0]} dimensions)"


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


@TARGETS.register("gmm")
@dataclass(frozen=True)
class GMM(MixtureTarget):
    """Gaussians at random places in any dimension, long ellipsoids turned at random; about unit variance.

    dim, modes: the space and how many; weights rise evenly from the first to the last, which has twice as much.
    spread: the rms standard deviation within a mode; decay: the k-th largest variance there falls as k^-decay, 0 for
    round modes. Places and turns are functions of seed. Means are normal, their variance 1 - spread^2.
    Raises OptionError for dim or modes below 1, spread outside (0, 1) and a negative decay.
    """

    dim: int = 16
    modes: int = 10
    spread: float = 0.3
    decay: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dim < 1 or self.modes < 1 or not 0.0 < self.spread < 1.0 or not 0.0 <= self.decay < math.inf:
            raise OptionError(f"gmm needs dim, modes >= 1, 0 < spread < 1 and decay >= 0, got {self!r}")

    def parts(self) -> tuple[Any, Any, Any]:
        from torchdiff.targets.components import placed

        return placed(self.dim, self.modes, self.spread, self.decay, self.seed)


@TARGETS.register("gaussian")
@dataclass(frozen=True)
class Gaussian(MixtureTarget):
    """One Gaussian with the spectrum of a power law, as natural images have.

        x0 ~ N(0, diag(v)),   v_k ~ k^-exponent,   k = 1 ... dim,   mean of v = variance

    exponent: 0 for one variance everywhere. `torchdiff.gaussian` has the exact error of affine solvers on this law.
    Raises OptionError for dim below 1, a negative exponent and a variance that is not positive.
    """

    metrics: ClassVar[tuple[str, ...]] = ("sliced_w2", "energy", "mmd", "ks", "c2st")
    modal: ClassVar[bool] = False

    dim: int = 256
    exponent: float = 1.2
    variance: float = 0.25

    def __post_init__(self) -> None:
        if self.dim < 1 or not 0.0 <= self.exponent < math.inf or not 0.0 < self.variance < math.inf:
            raise OptionError(f"gaussian needs dim >= 1, exponent >= 0 and variance > 0, got {self!r}")

    def parts(self) -> tuple[Any, Any, Any]:
        falling = [float(k) ** -self.exponent for k in range(1, self.dim + 1)]
        scale = self.variance * self.dim / math.fsum(falling)
        return [1.0], [[0.0] * self.dim], [[scale * v for v in falling]]
