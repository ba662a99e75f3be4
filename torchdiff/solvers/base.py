"""The interface of a solver: one step of a formula on x, for tensors and for linear forms alike."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from torchdiff.errors import IncompatibleError, TorchdiffError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import Level, LinearSDE

Predict = Callable[[Any, Level], Any]
Noise = Callable[[Level, Level], Any]


class Span(NamedTuple):
    """One interval of the grid: all that a formula may know."""

    sde: LinearSDE
    grid: tuple[Level, ...]
    index: int
    past: tuple[Any, ...] = ()  # what this part's earlier steps asked to remember, newest first

    @property
    def cur(self) -> Level:
        return self.grid[self.index]

    @property
    def nxt(self) -> Level:
        return self.grid[self.index + 1]

    @property
    def left(self) -> int:
        """Intervals still to go after this one."""
        return len(self.grid) - 2 - self.index


class Carry(NamedTuple):
    """What a multistep step returns: the new x, and what to remember for the next steps."""

    x: Any
    memo: Any


class Solver(ABC):
    """The ground floor: any step, on tensors. Derive from AffineSolver where + - and * by floats are enough.

    weak_order:   order of convergence of the law of x in the number of steps; None for what does not converge by steps
                  (correctors).
    strong_order: order of convergence of x itself on one Brownian path; None where there is no such claim.
    memory:       how many memos of earlier steps the formula reads.
    calls:        network calls of one step, at most; None where it chooses them itself (error control), once it runs.
    opening:      calls beside these in the first step of a solver on tensors that takes over its last one later.
    draws:        fresh normals of x's shape in one step, at most; 1 unless it is deterministic. None: as it comes.
    accepts:      the SDE class that the formula needs.
    moves:        False for a corrector, which stays at the level `span.cur`.
    ends:         True if the formula is right from alpha = 0 and to sigma = 0; else the driver takes a DDIM step there.
    """

    weak_order: ClassVar[float | None] = None
    strong_order: ClassVar[float | None] = None
    memory: ClassVar[int] = 0
    calls: ClassVar[int | None] = 1
    opening: ClassVar[int] = 0
    accepts: ClassVar[type[LinearSDE]] = LinearSDE
    moves: ClassVar[bool] = True
    ends: ClassVar[bool] = False
    affine: ClassVar[bool] = False

    @property
    def deterministic(self) -> bool:
        """True if no step draws noise: only such solvers run from data to noise too."""
        return False

    @property
    def draws(self) -> int | None:
        """How many times a step asks for noise, at most; None where it chooses that once it runs."""
        return 0 if self.deterministic else 1

    @property
    def source(self) -> str:
        """Where the formula comes from: what follows "Source:" in the docstring; "" without one."""
        _, _, source = inspect.cleandoc(type(self).__doc__ or "").partition("\nSource: ")
        return " ".join(source.partition("\n\n")[0].split())

    @property
    def adaptive(self) -> bool:
        """True if it takes steps of its own choice inside an interval: nobody takes an interval in its place."""
        return self.calls is None

    def parts(self) -> tuple[Solver, ...]:
        """The solvers that act one after the other in each interval, each with its own past and its own draws."""
        return (self,)

    def needs(self, sde: LinearSDE) -> str | None:
        """What the formula needs beside an SDE of the class `accepts` and this one has not; None where it has all."""
        return None

    @abstractmethod
    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        """x at span.nxt from x at span.cur: the new x, or Carry(x, memo).

        predict(x, level) calls the network; noise(start, end) is a fresh standard normal of x's shape each time. The
        levels say for which part of the interval: there a Brownian path has the increment that it is made of.
        Where x is a tensor, noise.lazy(start, end) is one that is never stored: torchdiff.draws.Fresh has its norm and
        sums with it.
        """


class AffineSolver(Solver):
    """A step that uses only + and - and * by floats: traced to a plan and fused."""

    affine: ClassVar[bool] = True


def check_fit(solver: Solver, sde: LinearSDE) -> None:
    """IncompatibleError, naming both and what would fit, if a part of the solver cannot run on this SDE."""
    *correctors, mover = solver.parts()
    if not mover.moves or any(part.moves for part in correctors):
        raise IncompatibleError(
            f"{solver!r} does not get from level to level: correctors stay where they are, and one solver that moves "
            f"comes last; try predictor_corrector:predictor=ddpm,corrector=langevin"
        )
    for part in solver.parts():
        missing = f"a {part.accepts.__name__}" if not isinstance(sde, part.accepts) else part.needs(sde)
        if missing is not None:
            raise IncompatibleError(
                f"solver {part!r} needs {missing}, got {sde!r}; solvers for it: {', '.join(fitting(sde))}"
            )
    driven = driven_blocks(sde)
    if driven not in ([], [sde.blocks]):
        raise IncompatibleError(
            f"noise must drive the last block alone, whose score is all that a network tells; in {sde!r} it drives "
            f"{' and '.join(map(str, driven))} of {sde.blocks} blocks. Put the one that it drives last, or simulate it "
            f"forward, which needs no network"
        )


def driven_blocks(sde: LinearSDE) -> list[int]:
    """The blocks, counted from 1, that noise drives at t_min, t_max or between them; [1] of a single one."""
    if sde.blocks == 1:
        return [1]
    noises = [sde.noise(t) for t in (sde.t_min, 0.5 * (sde.t_min + sde.t_max), sde.t_max)]
    return [i + 1 for i in range(sde.blocks) if any(value != 0.0 for noise in noises for value in noise[i])]


def fitting(sde: LinearSDE) -> list[str]:
    """Names of the solvers that run on this SDE by default; plugins that nobody has asked for yet are not loaded."""
    return [name for name in SOLVERS.names() if _fits(name, sde)]


def _fits(name: str, sde: LinearSDE) -> bool:
    try:
        parts = SOLVERS.get(name).parts() if SOLVERS.find(name) is not None else ()
        fits = all(isinstance(sde, part.accepts) and part.needs(sde) is None for part in parts)
        return bool(parts) and parts[-1].moves and fits
    except TorchdiffError:  # a plugin of two distributions, or one whose options have no default, is not a suggestion
        return False
