"""A general SDE: any drift f(x, t) and any diffusion g(x, t), on tensors."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchdiff.errors import IncompatibleError, OptionError, shown

KINDS = ("diagonal", "scalar", "matrix")
Field = Callable[[Tensor, float], Any]


class SDE(ABC):
    """dX = f(X, t) dt + g(X, t) dW in the sense of Ito, X (B, *event): each sample is one path of it.

    Derive from it and write `drift` and `diffusion`, or build it from two functions: `SDE.of(f, g)`. Both act on each
    sample alone, are called with x (B, *event) and a float t, and leave x as it is. They return a tensor of x's dtype
    on its device, or a number that stands for one of x's shape.

    kind: how many Wiener processes drive a sample, and so what g is:
          "diagonal"  one for each coordinate; g of x's shape, dX_i = f_i dt + g_i dW_i
          "scalar"    one for all of them; g of x's shape, dX_i = f_i dt + g_i dW
          "matrix"    m; g (B, d, m) on the flattened event of d coordinates, dX_i = f_i dt + sum_j g_ij dW_j
    g_prime: the derivative of g, where a method or the reversal needs it; without it torch derives g (forward mode).
          diagonal and scalar: dg_i / dx_i, of x's shape, for a g_i that depends on x_i alone
          matrix: dg_ij / dx_k, (B, d, m, d)
    A process whose drift is linear and whose noise does not depend on x is a LinearSDE: it has exact transitions.
    """

    kind: str = "diagonal"
    g_prime: Any = None  # a method g_prime(x, t), if there is one
    backward: bool = False  # True for what `reverse` makes: it runs with falling times

    @abstractmethod
    def drift(self, x: Tensor, t: float) -> Any:
        """f(x, t), of x's shape."""

    @abstractmethod
    def diffusion(self, x: Tensor, t: float) -> Any:
        """g(x, t), of the shape that `kind` says."""

    @staticmethod
    def of(f: Field, g: Field, kind: str = "diagonal", g_prime: Field | None = None) -> FunctionSDE:
        """The SDE of two functions f(x, t) and g(x, t); see the class. Raises OptionError for what is no function."""
        return FunctionSDE(f, g, kind, g_prime)


@dataclass(frozen=True)
class FunctionSDE(SDE):
    """An SDE from two functions: what SDE.of returns."""

    f: Field
    g: Field
    kind: str = "diagonal"
    g_prime: Field | None = None

    def __post_init__(self) -> None:
        for name, value in (("f", self.f), ("g", self.g)):
            if not callable(value):
                raise OptionError(f"{name} is a function of x and t, got {shown(value)}")
        if self.g_prime is not None and not callable(self.g_prime):
            raise OptionError(f"g_prime is a function of x and t, or None, got {shown(self.g_prime)}")
        check_kind(self)

    def drift(self, x: Tensor, t: float) -> Any:
        return self.f(x, t)

    def diffusion(self, x: Tensor, t: float) -> Any:
        return self.g(x, t)


def check_kind(sde: SDE) -> None:
    if sde.kind not in KINDS:
        raise OptionError(f"the kind of an SDE is {', '.join(KINDS)}, got {shown(sde.kind)} for {shown(sde)}")


def drift(sde: SDE, x: Tensor, t: float) -> Tensor:
    """f(x, t), checked: (B, *event). Raises IncompatibleError for another shape, dtype or device."""
    return checked("drift", sde.drift(x, t), x, t)


def diffusion(sde: SDE, x: Tensor, t: float) -> Tensor:
    """g(x, t), checked: of x's shape, or (B, d, m) for matrix noise. Raises IncompatibleError as `drift`."""
    if sde.kind != "matrix":
        return checked("diffusion", sde.diffusion(x, t), x, t)
    g, d = sde.diffusion(x, t), math.prod(x.shape[1:])
    if not isinstance(g, Tensor) or g.dim() != 3 or tuple(g.shape[:2]) != (x.shape[0], d):
        got = tuple(g.shape) if isinstance(g, Tensor) else shown(g)
        raise IncompatibleError(
            f"the diffusion of a matrix SDE returned {got} at t = {t:g} for x of shape {tuple(x.shape)}; expected "
            f"({x.shape[0]}, {d}, m), a matrix for each sample"
        )
    return _same_place("diffusion", g, x, t)


def derivative(sde: SDE, x: Tensor, t: float) -> Tensor:
    """The user's g_prime(x, t), checked: of x's shape, or (B, d, m, d) for matrix noise."""
    if sde.kind != "matrix":
        return checked("g_prime", sde.g_prime(x, t), x, t)
    value, d = sde.g_prime(x, t), math.prod(x.shape[1:])
    if not isinstance(value, Tensor) or value.dim() != 4 or (*value.shape[:2], value.shape[3]) != (x.shape[0], d, d):
        got = tuple(value.shape) if isinstance(value, Tensor) else shown(value)
        raise IncompatibleError(
            f"g_prime of a matrix SDE returned {got} at t = {t:g}; expected ({x.shape[0]}, {d}, m, {d}), dg_ij / dx_k"
        )
    return _same_place("g_prime", value, x, t)


def sources(sde: SDE, x: Tensor, t: float) -> tuple[int, ...]:
    """The shape of dW, the batch first: x's, (B, 1), or (B, m)."""
    check_kind(sde)
    if sde.kind == "matrix":
        return x.shape[0], diffusion(sde, x, t).shape[2]
    return tuple(x.shape) if sde.kind == "diagonal" else (x.shape[0], 1)


def spread(sde: SDE, g: Tensor, dw: Tensor, x: Tensor) -> Tensor:
    """g dW, of x's shape."""
    if sde.kind == "matrix":
        return (g * dw.unsqueeze(1)).sum(2).reshape(x.shape)  # not bmm, whose sums may depend on the batch
    return g * over(dw, x) if sde.kind == "scalar" else g * dw


def rows(x: Tensor) -> Tensor:
    """x (B, *event) as (B, d)."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def over(number: Tensor, x: Tensor) -> Tensor:
    """(B, 1) or (B,) as what multiplies x (B, *event), one number a sample."""
    return number.reshape(x.shape[0], *[1] * (x.dim() - 1))


def checked(what: str, value: Any, x: Tensor, t: float) -> Tensor:
    """What a user's function of (x, t) returned, of x's shape; a number stands for a tensor of it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return torch.full_like(x, value)
    if not isinstance(value, Tensor) or value.shape != x.shape:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else shown(value)
        hint = "; a g (B, d, m) needs kind='matrix'" if what == "diffusion" and getattr(value, "ndim", 0) == 3 else ""
        raise IncompatibleError(
            f"the {what} returned {got} at t = {t:g}, expected x's shape {tuple(x.shape)} or a number{hint}"
        )
    return _same_place(what, value, x, t)


def _same_place(what: str, value: Tensor, x: Tensor, t: float) -> Tensor:
    if value.dtype != x.dtype or value.device != x.device:
        raise IncompatibleError(
            f"the {what} returned {value.dtype} on {value.device} at t = {t:g}, x is {x.dtype} on {x.device}; "
            f"make its constants with x.new_tensor, or start from x of the other dtype"
        )
    return value
