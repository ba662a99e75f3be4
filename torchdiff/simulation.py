"""Paths of an SDE from given states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from torchdiff import inputs
from torchdiff.amounts import count
from torchdiff.blocks import Blocks, pack, unpack
from torchdiff.counters import FORWARD, draw_number
from torchdiff.equations import Equation, General, Linear
from torchdiff.errors import IncompatibleError, NonFiniteError, OptionError, shown
from torchdiff.general import SDE
from torchdiff.noise import NOISE_VERSION, as_seeds, fresh_seed, normal
from torchdiff.registry import SDES
from torchdiff.reversal import ReversedLinear
from torchdiff.schemes import Scheme, scheme
from torchdiff.sde.base import LinearSDE
from torchdiff.wiener import Brownian, White, Wiener


@dataclass(frozen=True, eq=False)
class Paths:
    """What `simulate` returns.

    x:      the states (T, B, *event) at the T times, x[0] the start; for a block SDE the position.
    state:  all blocks of the state, each (T, B, *event): (x,), or (x, v) for CLD.
    times:  the T times. seed: what makes the same paths again, drawn for you if you gave none.
    finite: (B,) bool, paths that are finite at all times.
    """

    x: Tensor
    state: tuple[Tensor, ...]
    times: tuple[float, ...]
    seed: Any
    first_index: int
    finite: Tensor
    noise_version: int = NOISE_VERSION

    def __repr__(self) -> str:
        ends = f"t = {self.times[0]:g} to {self.times[-1]:g}"
        return f"Paths(x={tuple(self.x.shape)} {self.x.dtype}, {ends}, seed={self.seed!r})"


def simulate(
    sde: SDE | LinearSDE | ReversedLinear | str,
    x0: Tensor | Sequence[Tensor],
    times: Sequence[float] | Tensor,
    *,
    seed: int | Sequence[int] | Tensor | None = None,
    method: str | None = None,
    steps: int | None = None,
    noise: str = "brownian",
    clock: tuple[float, float] | None = None,
    first_index: int = 0,
    on_nonfinite: str = "raise",
    grad: bool = False,
) -> Paths:
    """Paths of an SDE: its states at the given times, from x0 at the first.

    sde:    an SDE; a LinearSDE or its name with options, "vp", "cld:mass=1"; or what `reverse` made of one.
    x0:     (B, *event), float32, float64, float16 or bfloat16, on any device: the states at times[0]. For an SDE of n
            blocks all of them, (x, v); or x alone, if times[0] is 0: the others are then drawn from their law there.
    times:  at least two, rising; falling for what `reverse` made.
    seed:   as in `sample`: path i is a function of (seed, first_index + i) and x0[i], whatever the batch around it.
    method: "exact", the two-time transition (LinearSDE, the default for it); "euler_maruyama" (the default else);
            "milstein" (commutative noise; derivatives by torch or the SDE's g_prime); "torchsde:method=srk", or euler,
            milstein, midpoint, heun, euler_heun, log_ode or reversible_heun there. Of these log_ode has Levy areas, for
            matrix noise (torchdiff.areas), and its order 1 where the noise commutes, else 1/2.
    steps:  between two times, all of one length. An approximate method needs it; 1 makes `times` the grid.
    noise:  "brownian": the increments of one path a seed on `clock`, so that more steps or more times come nearer to
            one and the same path. "white": other normals for each step, which costs less where steps are no dyadic
            fractions of the clock.
    clock:  the interval on which the Brownian path lives: another one is another path. By default from the first to the
            last time; for a LinearSDE [0, t_max], as in `sample`. Times are rounded to 2^-24 of it.
    on_nonfinite: "raise" NonFiniteError naming the time and the first path that is not finite, or "mark" them in
            `finite`. grad: record the computation for autograd.
    A run forward and one backward have independent noise for one seed; a run backward has that of `sample`.
    Returns Paths. Raises errors of the ValueError family that say what came and what was expected.
    """
    equation = _equation(sde)
    how = scheme(("exact" if type(equation) is Linear else "euler_maruyama") if method is None else method)
    how.check(equation)
    ends = _times(times, equation)
    every = _steps(steps, how)
    grid = _grid(ends, every)
    if on_nonfinite not in ("raise", "mark"):
        raise OptionError(f"on_nonfinite is 'raise' or 'mark', got {on_nonfinite!r}")
    if clock is not None and noise == "white":
        raise OptionError(f"white noise has no path that lives on a clock, got clock = {shown(clock)}; leave it out")
    first_index, seed = inputs.index(first_index), fresh_seed() if seed is None else seed
    with torch.set_grad_enabled(grad):
        x = _start(x0, equation, ends[0], seed, first_index)
        like = unpack(x)[0]
        seeds = as_seeds(seed, like.shape[0])
        args = (grid, equation.sources(x, grid[0]), like, seeds, first_index, equation.blocks)
        wiener: Wiener = White(*args) if noise == "white" else Brownian(*args, _clock(noise, clock, ends, equation))
        frames, memo = [unpack(x)], None
        for step in range(len(grid) - 1):
            x, memo = how.step(equation, x, memo, wiener, step, step % every == 0)
            if (step + 1) % every == 0:
                frames.append(unpack(x))
        state = tuple(torch.stack(block) for block in zip(*frames, strict=True))
    return Paths(state[0], state, ends, seed, first_index, _finite(state, ends, on_nonfinite))


def _equation(sde: Any) -> Equation:
    if isinstance(sde, SDE):
        return General(sde)
    return sde if isinstance(sde, ReversedLinear) else Linear(SDES.get(sde))


def _times(times: Any, equation: Equation) -> tuple[float, ...]:
    try:
        values = tuple(float(t) for t in times)
    except (TypeError, ValueError):
        raise OptionError(f"times are a sequence of numbers, got {shown(times)}") from None
    falling = equation.backward
    if len(values) < 2 or not all(
        (a > b if falling else a < b) and abs(a - b) < float("inf") for a, b in pairwise(values)
    ):
        way = (
            "fall, for it is reversed"
            if falling
            else "rise; torchdiff.reverse(sde, score) makes an SDE for falling ones"
        )
        raise OptionError(f"times are at least two finite numbers that {way}; got {shown(values)}")
    if isinstance(equation, Linear):
        for t in values:
            equation.sde.check_time(t)
    return values


def _steps(steps: Any, how: Scheme) -> int:
    if steps is None and not how.approximate:
        return 1
    return count("steps", steps, "; so many are taken between two times, 1 makes them the grid")


def _grid(times: tuple[float, ...], steps: int) -> list[float]:
    inner = [a + (b - a) * i / steps for a, b in pairwise(times) for i in range(steps)]
    return [*inner, times[-1]]


def _clock(
    noise: str, clock: tuple[float, float] | None, times: tuple[float, ...], equation: Equation
) -> tuple[float, float]:
    if noise != "brownian":
        raise OptionError(f"noise is 'white' or 'brownian', got {noise!r}")
    if clock is None:
        return (0.0, equation.sde.t_max) if isinstance(equation, Linear) else (min(times), max(times))
    try:
        low, high = map(float, clock)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not -float("inf") < low < high < float("inf"):
        raise OptionError(f"clock is an interval, (0.0, 1.0) say, got {shown(clock)}")
    return low, high


def _start(x0: Any, equation: Equation, t: float, seed: Any, first_index: int) -> Any:
    """The state at the first time: a tensor, or Blocks of them."""
    blocks = (x0,) if isinstance(x0, Tensor) or not isinstance(x0, Sequence) else tuple(x0)
    for block in blocks:
        if not isinstance(block, Tensor) or block.dim() == 0 or block.dtype not in inputs.DTYPES:
            got = f"{block.dtype} {tuple(block.shape)}" if isinstance(block, Tensor) else shown(block)
            raise OptionError(f"x0 is a floating tensor (B, *event), or one for each block, got {got}")
        if (block.shape, block.dtype, block.device) != (blocks[0].shape, blocks[0].dtype, blocks[0].device):
            raise OptionError("the blocks of x0 need one shape, dtype and device")
    if len(blocks) == 1 and equation.blocks > 1 and t == 0.0 and isinstance(equation, Linear):
        spread = equation.sde.level(0.0).sigma
        return Blocks(
            [blocks[0], *(_drawn(spread, row, blocks[0], seed, first_index) for row in range(1, equation.blocks))]
        )
    if len(blocks) != equation.blocks:
        hint = " (x alone is enough at t = 0)" if equation.blocks > 1 else ""
        raise IncompatibleError(f"x0 has {len(blocks)} block(s), the SDE {equation.blocks}{hint}")
    return pack(blocks)


def _drawn(spread: Any, row: int, like: Tensor, seed: Any, first_index: int) -> Tensor:
    """A block at t = 0 that the data do not say: its row of the level's Cholesky factor times normals."""
    total = torch.zeros_like(like)
    for column, weight in enumerate(spread[row]):
        if weight != 0.0:
            draw = draw_number(FORWARD, part=1, block=column)  # part 0 is the steps'
            z = normal(like.shape, seed=seed, first_index=first_index, draw=draw, dtype=like.dtype, device=like.device)
            total = total + weight * z
    return total


def _finite(state: tuple[Tensor, ...], times: tuple[float, ...], mode: str) -> Tensor:
    shape = len(times), state[0].shape[1], math.prod(state[0].shape[2:])
    fine = torch.stack([block.detach().isfinite().reshape(shape).all(2) for block in state]).all(0)  # (T, B)
    finite = fine.all(0)
    if mode == "raise" and not bool(finite.all()):
        first = int((~fine).any(1).nonzero()[0])
        bad = (~fine[first]).nonzero().flatten().tolist()
        raise NonFiniteError(
            f"the paths are not finite at t = {times[first]:g}: path {bad[0]} first, {len(bad)} of {finite.numel()}; "
            f"take more steps, or on_nonfinite='mark' to keep the others"
        )
    return finite
