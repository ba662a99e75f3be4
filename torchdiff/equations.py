"""What a simulation integrates: a general SDE, or a LinearSDE of n blocks, behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from torchdiff import general
from torchdiff.blocks import unpack
from torchdiff.general import SDE
from torchdiff.jacobians import ito_term, milstein_term
from torchdiff.sde.base import LinearSDE


class Equation(ABC):
    """dX = f dt + g dW. The state x and dW are a tensor, or Blocks of tensors (B, *event) for n > 1 blocks.

    additive: g does not depend on x. backward: it runs from noise to data, with falling times.
    """

    blocks: int = 1
    additive: bool = False
    backward: bool = False

    @abstractmethod
    def sources(self, x: Any, t: float) -> tuple[int, ...]:
        """The shape of one block of dW, the batch first."""

    @abstractmethod
    def drift(self, x: Any, t: float) -> Any: ...

    @abstractmethod
    def spread(self, x: Any, t: float, dw: Any) -> Any:
        """g dW."""

    @abstractmethod
    def moves(self, x: Any, t: float, dw: Any, length: float, check: bool) -> Any:
        """g dW with Milstein's term; check: look whether the noise is of a kind that the term is right for."""


class General(Equation):
    """An SDE on tensors."""

    def __init__(self, sde: SDE) -> None:
        general.check_kind(sde)
        self.sde, self.backward = sde, sde.backward

    def sources(self, x: Tensor, t: float) -> tuple[int, ...]:
        return general.sources(self.sde, x, t)

    def drift(self, x: Tensor, t: float) -> Tensor:
        return general.drift(self.sde, x, t)

    def diffusion(self, x: Tensor, t: float) -> Tensor:
        return general.diffusion(self.sde, x, t)

    def stratonovich_drift(self, x: Tensor, t: float) -> Tensor:
        """The drift with which a method for Stratonovich's equations integrates this one."""
        sign = -1.0 if self.backward else 1.0  # the noise's share does not turn round with time
        return self.drift(x, t) - 0.5 * sign * ito_term(self.sde, x, t, self.diffusion(x, t))

    def spread(self, x: Tensor, t: float, dw: Tensor) -> Tensor:
        return general.spread(self.sde, self.diffusion(x, t), dw, x)

    def moves(self, x: Tensor, t: float, dw: Tensor, length: float, check: bool) -> Tensor:
        g = self.diffusion(x, t)
        return general.spread(self.sde, g, dw, x) + milstein_term(self.sde, x, t, g, dw, length, check)


class Linear(Equation):
    """A LinearSDE, forward. Its noise is additive, so Milstein's term is zero."""

    additive = True

    def __init__(self, sde: LinearSDE) -> None:
        self.sde, self.blocks = sde, sde.blocks

    def sources(self, x: Any, t: float) -> tuple[int, ...]:
        return tuple(unpack(x)[0].shape)

    def drift(self, x: Any, t: float) -> Any:
        return self.sde.drift(t) @ x

    def spread(self, x: Any, t: float, dw: Any) -> Any:
        return self.sde.noise(t) @ dw

    def moves(self, x: Any, t: float, dw: Any, length: float, check: bool) -> Any:
        return self.spread(x, t, dw)
