"""The methods of `simulate`: one step of each, from one time of the grid to the next."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchdiff import ops
from torchdiff.blocks import pack, unpack
from torchdiff.equations import Equation, General, Linear
from torchdiff.errors import IncompatibleError, OptionError, UnknownNameError, shown
from torchdiff.general import rows
from torchdiff.interop.torchsde_methods import METHODS, check_method, torchsde
from torchdiff.spec import parse_options
from torchdiff.wiener import Wiener


class Scheme(ABC):
    """approximate: more steps come nearer."""

    approximate = True

    def check(self, equation: Equation) -> None:  # noqa: B027  # most methods take every equation
        """Raises IncompatibleError for an equation that the method is not made for."""

    @abstractmethod
    def step(self, equation: Equation, x: Any, memo: Any, wiener: Wiener, step: int, check: bool) -> tuple[Any, Any]:
        """x at wiener.grid[step + 1], and what the method wants to get as memo in the next step; None in the first.

        check: look at what the method takes for granted.
        """


class Exact(Scheme):
    """The two-time transition of a LinearSDE, with increments over the root of their length as its normals.

    The last block, which noise drives, has the normals of its own path alone, so that with more steps the path is that
    of Euler-Maruyama, to order 1. The law of a transition is exact for any steps.
    """

    approximate = False

    def check(self, equation: Equation) -> None:
        if not isinstance(equation, Linear) or equation.backward:
            raise IncompatibleError(
                "exact transitions are known for a LinearSDE run forward; give method='euler_maruyama', say"
            )

    def step(self, equation: Equation, x: Any, memo: Any, wiener: Wiener, step: int, check: bool) -> tuple[Any, Any]:
        assert isinstance(equation, Linear)
        mean, factor = equation.sde.transition(wiener.grid[step], wiener.grid[step + 1])
        factor = upper(factor)
        unit = 1.0 / math.sqrt(wiener.length(step))
        inputs = [*unpack(x), *(wiener.increment(step, block) for block in range(equation.blocks))]
        rows = [[*row, *(w * unit for w in fresh)] for row, fresh in zip(mean, factor, strict=True)]
        none = torch.empty(0, dtype=torch.int64, device=wiener.device)
        weights = torch.tensor(rows, dtype=torch.float64, device=wiener.device)
        return pack(ops.affine(inputs, row, none, 0, none)[0] for row in weights.split(1)), None


class EulerMaruyama(Scheme):
    """x + f dt + g dW. Strong order 1/2, 1 where g does not depend on x; weak order 1.

    Source: Maruyama 1955, Rend. Circ. Mat. Palermo 4, 48; Kloeden & Platen 1992, section 10.2.
    """

    def step(self, equation: Equation, x: Any, memo: Any, wiener: Wiener, step: int, check: bool) -> tuple[Any, Any]:
        cur, nxt, dw = wiener.grid[step], wiener.grid[step + 1], increments(equation, wiener, step)
        return x + equation.drift(x, cur) * (nxt - cur) + equation.spread(x, cur, dw), None


class Milstein(Scheme):
    """x + f dt + g dW + sum_jk (g_j . grad) g_k (dW_j dW_k - delta_jk |dt|) / 2: commutative noise, strong order 1.

    Source: Milstein 1974, Theory Probab. Appl. 19, 557; Kloeden & Platen 1992, eqs. 10.3.1 and 10.3.16.
    """

    def step(self, equation: Equation, x: Any, memo: Any, wiener: Wiener, step: int, check: bool) -> tuple[Any, Any]:
        cur, nxt, dw = wiener.grid[step], wiener.grid[step + 1], increments(equation, wiener, step)
        return x + equation.drift(x, cur) * (nxt - cur) + equation.moves(x, cur, dw, wiener.length(step), check), None


@dataclass(frozen=True)
class TorchSDE(Scheme):
    """One step of torchsde's `method`, driven by our noise; for its Stratonovich methods the drift is converted.

    Source: torchsde 0.2.6.
    """

    method: str = "srk"

    def __post_init__(self) -> None:
        check_method(self.method)

    def check(self, equation: Equation) -> None:
        torchsde()
        if self.method in ("milstein", "srk") and isinstance(equation, General) and equation.sde.kind == "matrix":
            raise IncompatibleError(
                f"torchsde's {self.method} takes diagonal and scalar noise, this SDE has matrix noise; "
                f"take milstein (ours) where it commutes, else torchsde:method=log_ode"
            )
        if (
            self.method in ("milstein", "log_ode")
            and isinstance(equation, General)
            and torch.is_inference_mode_enabled()
        ):
            raise IncompatibleError(
                f"torchsde's {self.method} derives the diffusion by autograd, which torch.inference_mode() takes for "
                f"zero; run it under torch.no_grad(), or outside"
            )

    def step(self, equation: Equation, x: Any, memo: Any, wiener: Wiener, step: int, check: bool) -> tuple[Any, Any]:
        from torchdiff.interop.torchsde_steps import Given, additive_step
        from torchdiff.interop.torchsde_steps import step as their_step

        sign = -1.0 if equation.backward else 1.0  # torchsde's times rise: a run backward has the clock -t
        span = sign * wiener.grid[step], sign * wiener.grid[step + 1]
        shape, blocks = unpack(x)[0].shape, range(equation.blocks)

        def flat(x: Any) -> Tensor:
            return torch.cat([rows(block) for block in unpack(x)], dim=1)

        def whole(y: Tensor) -> Any:
            return pack(part.reshape(shape) for part in y.chunk(len(blocks), dim=1))

        if self.method == "srk":
            made = [wiener.joint(step, block) for block in blocks]
            given = Given(*(flat(pack(part)) for part in zip(*made, strict=True)))
        elif self.method == "log_ode" and isinstance(equation, General) and equation.sde.kind == "matrix":
            w, area = wiener.area(step)
            given = Given(w, area=area)
        else:  # where there is one noise a coordinate, or one in all, the vector fields of log_ode commute
            given = Given(flat(increments(equation, wiener, step)))
        drift = equation.drift
        if isinstance(equation, General) and METHODS[self.method][0] == "stratonovich":
            drift = equation.stratonovich_drift

        def f(y: Tensor, s: float) -> Tensor:
            return flat(drift(whole(y), sign * s) * sign)

        if isinstance(equation, General):
            kind = {"matrix": "general"}.get(equation.sde.kind, equation.sde.kind)

            def g(y: Tensor, s: float) -> Tensor:
                value = equation.diffusion(whole(y), sign * s)
                return value if kind == "general" else flat(value).unsqueeze(2) if kind == "scalar" else flat(value)

            y, memo = their_step(self.method, flat(x), span, kind, f, g, given, memo)
        else:

            def spread(v: Tensor, s: float) -> Tensor:
                return flat(equation.spread(x, sign * s, whole(v)))

            y, memo = additive_step(self.method, flat(x), span, f, spread, given, memo)
        return whole(y), memo


def upper(factor: Sequence[Sequence[float]]) -> list[list[float]]:
    """The upper triangular U with U U^T = L L^T, no entry of its diagonal negative, from a lower triangular L."""
    flipped = torch.tensor(factor, dtype=torch.float64, device="cpu").flip(0)
    triangle = torch.linalg.qr(flipped.T)[1].T.flip(0, 1)  # L = U Q, by QR of the rows from the last
    return (triangle * torch.where(triangle.diagonal() < 0.0, -1.0, 1.0)).tolist()


def increments(equation: Equation, wiener: Wiener, step: int) -> Any:
    """dW over one step: a tensor, or Blocks of them."""
    return pack(wiener.increment(step, block) for block in range(equation.blocks))


SCHEMES = {"exact": Exact, "euler_maruyama": EulerMaruyama, "milstein": Milstein, "torchsde": TorchSDE}


def scheme(spec: str) -> Scheme:
    """The method that a spec names: "milstein", "torchsde:method=srk". Raises UnknownNameError or OptionError."""
    if not isinstance(spec, str):
        raise OptionError(f"method is one of {', '.join(SCHEMES)}, got {shown(spec)}")
    name, colon, _ = spec.partition(":")
    if name.strip() not in SCHEMES:
        raise UnknownNameError(f"unknown method {shown(spec)}; known: {', '.join(SCHEMES)}")
    options = parse_options(spec, len(name) + 1) if colon else {}
    wrong = [option for option in options if (name.strip(), option) != ("torchsde", "method")]
    if wrong:
        raise OptionError(f"method {name.strip()!r} has no option {wrong[0]!r}; torchsde has one: method")
    return SCHEMES[name.strip()](**options)
