"""One step of a method of torchsde on our equations, driven by our noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from torchdiff.blocks import pack, unpack
from torchdiff.draws import joint
from torchdiff.interop.torchsde_methods import METHODS, torchsde

if TYPE_CHECKING:
    from torchdiff.solvers.base import Noise, Predict, Span


class Given(NamedTuple):
    """The noise of one step: W (B, m), and what the method asks for beside it, U (B, m) or A (B, m, m)."""

    w: Tensor
    u: Tensor | None = None
    area: Tensor | None = None


class _Motion:
    """The noise of one step as torchsde's Brownian motion, for its own interval only."""

    levy_area_approximation = "foster"  # of the three that torchsde knows the one that has W, U and A

    def __init__(self, given: Given) -> None:
        self.given = given
        self.shape, self.dtype, self.device = given.w.shape, given.w.dtype, given.w.device

    def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
        w, u, area = self.given
        return (w, u) if return_U else (w, area) if return_A else w


class _Matrix:
    """G as torchsde uses it: it asks for the size, takes columns, adds, and multiplies by torch.bmm.

    bmm itself is kept away: on a CPU, from 400 elements on, the last bits of its matrix-vector products depend on the
    batch around a sample.
    """

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0].times(args[1]) if function is torch.bmm else NotImplemented


class _Full(_Matrix):
    """g (B, d, m), stored."""

    def __init__(self, g: Tensor) -> None:
        self.g = g

    def size(self, dim: int | None = None) -> Any:
        return tuple(self.g.shape) if dim is None else self.g.shape[dim]

    def times(self, v: Tensor) -> Tensor:
        return (self.g.unsqueeze(3) * v.unsqueeze(1)).sum(2)

    def __getitem__(self, place: Any) -> Tensor:
        return self.g[place]

    def __add__(self, other: _Full) -> _Full:
        return _Full(self.g + other.g)


class _Action(_Matrix):
    """G (B, d, d) by what it does to a vector (B, d): no matrix is made."""

    def __init__(self, shape: torch.Size, act: Callable[[Tensor], Tensor]) -> None:
        self.shape, self.act = shape, act

    def size(self) -> tuple[int, ...]:
        return (*self.shape, self.shape[1])

    def times(self, v: Tensor) -> Tensor:
        return self.act(v.squeeze(2)).unsqueeze(2)

    def __add__(self, other: _Action) -> _Action:
        return _Action(self.shape, lambda v: self.act(v) + other.act(v))


class _Once:
    """A function that is not evaluated twice at one point: torchsde's stages and checks ask again for what they had."""

    def __init__(self, function: Callable[[Tensor, float], Any]) -> None:
        self.function, self.known = function, []

    def __call__(self, t: Any, y: Tensor) -> Any:
        t = float(t)
        for at, where, value in self.known:
            if at == t and where is y:
                return value
        value = self.function(y, t)
        self.known.append((t, y, value))
        return value


class _Equation:
    def __init__(self, sde_type: str, noise_type: str, f: _Once, g: _Once) -> None:
        self.sde_type, self.noise_type, self.f, self.g = sde_type, noise_type, f, g


def additive_step(
    method: str,
    y: Tensor,
    span: tuple[float, float],
    drift: Callable[[Tensor, float], Tensor],
    spread: Callable[[Tensor, float], Tensor],
    given: Given,
    memo: Any = None,
) -> tuple[Tensor, Any]:
    """y (B, d) at span[1] > span[0] by one step of dy = drift(y, s) ds + G(s) dW, spread(v, s) = G(s) v.

    memo: what the step before returned beside y, None in the first one.
    """
    g = _Once(lambda y, s: _Action(y.shape, lambda v: spread(v, s)))
    return _step(method, _Equation(METHODS[method][0], "additive", _Once(drift), g), y, span, given, memo)


def step(
    method: str,
    y: Tensor,
    span: tuple[float, float],
    kind: str,
    drift: Callable[[Tensor, float], Tensor],
    diffusion: Callable[[Tensor, float], Tensor],
    given: Given,
    memo: Any = None,
) -> tuple[Tensor, Any]:
    """y (B, d) at span[1] > span[0] by one step of dy = drift(y, s) ds + diffusion(y, s) dW; memo as in additive_step.

    kind: "diagonal", diffusion (B, d); "scalar", (B, d, 1); "general", (B, d, m). drift: in the method's own calculus.
    """
    g = _Once((lambda y, s: _Full(diffusion(y, s))) if kind == "general" else diffusion)
    return _step(method, _Equation(METHODS[method][0], kind, _Once(drift), g), y, span, given, memo)


def _step(
    method: str, equation: _Equation, y: Tensor, span: tuple[float, float], given: Given, memo: Any
) -> tuple[Tensor, Any]:
    ts = torch.tensor(span, dtype=torch.float64, device="cpu")  # not y's dtype, which loses short steps
    if memo is not None:  # torchsde looks at f and g in y for their sizes; the method that remembers asks elsewhere
        equation.f.known.append((span[0], y, memo[0]))
        equation.g.known.append((span[0], y, memo[1]))
    states, memo = torchsde().sdeint(
        equation,
        y,
        ts,
        bm=_Motion(given),
        method=method,
        dt=2.0 * (span[1] - span[0]),  # longer than the step, so that rounding cannot make two of it
        extra=True,
        extra_solver_state=memo,
    )
    return states[1].to(y.dtype), memo or None


def reverse_step(method: str, x: Any, span: Span, predict: Predict, noise: Noise, memo: Any = None) -> tuple[Any, Any]:
    """x at span.nxt by one step of the reverse SDE, on the clock s = -t, and the memo for the next one."""
    cur, nxt, sde = span.cur, span.nxt, span.sde
    shape, blocks = unpack(x)[0].shape, len(unpack(x))

    def flat(x: Any) -> Tensor:
        return torch.cat([block.reshape(shape[0], math.prod(shape[1:])) for block in unpack(x)], dim=1)

    def whole(y: Tensor) -> Any:
        return pack(block.reshape(shape).contiguous() for block in y.chunk(blocks, dim=1)) if y.numel() else x

    def clock(s: float) -> float:
        return min(max(-s, nxt.t), cur.t)  # stages at the ends may miss them by an ulp

    def drift(y: Tensor, s: float) -> Tensor:
        level = sde.level(clock(s))
        x, noise = whole(y), sde.noise(level.t)
        return flat((noise @ noise.T) @ predict(x, level).score - sde.drift(level.t) @ x)

    def spread(v: Tensor, s: float) -> Tensor:
        return flat(sde.noise(clock(s)) @ whole(v))

    if method == "srk":
        w, u = joint(noise)(cur, nxt)
        given = Given(flat(w), flat(u))
    else:
        given = Given(flat(noise(cur, nxt) * math.sqrt(cur.t - nxt.t)))
    y, memo = additive_step(method, flat(x), (-cur.t, -nxt.t), drift, spread, given, memo)
    return whole(y), memo
