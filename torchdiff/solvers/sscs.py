"""Symmetric splitting for Langevin dynamics of any number of blocks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.blocks import Blocks, Mat
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import Level, LinearSDE, stays
from torchdiff.solvers.base import AffineSolver, Carry, Noise, Predict, Span

CONDITION = 30.0  # of a map whose inverse is used: it multiplies the error of E; beyond it 1 - E^T E is not small


class Splitting(AffineSolver):
    """A: half an exact step of the reverse of the stationary law N(0, S), S: the score's push, A: the other half."""

    @property
    def draws(self) -> int:
        return 2

    def needs(self, sde: LinearSDE) -> str | None:
        if sde.blocks == 1:
            return "more than one block, position and velocity"
        for t in (sde.t_min, 0.5 * (sde.t_min + sde.t_max), sde.t_max):
            prior = sde.prior(t)
            if prior != sde.prior(sde.t_max) or not stays(sde, prior @ prior.T, t):
                return "a prior that the SDE leaves as it is, F S + S F^T + G G^T = 0 at all times"
        return None

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt, sde = span.cur, span.nxt, span.sde
        middle = sde.level(0.5 * (cur.t + nxt.t))
        prior = sde.prior(cur.t)

        def langevin(x: Blocks, start: Level, end: Level) -> Blocks:
            mean, factor = reversed_kernel(*sde.transition(end.t, start.t), prior)
            return mean @ x + factor @ noise(start, end)

        def force(x: Blocks, level: Level) -> Blocks:
            diffusion = sde.noise(level.t)
            push = diffusion @ diffusion.T
            return push @ predict(x, level).score + (push @ _inverse(prior @ prior.T)) @ x

        pushed = self.push(langevin(x, cur, middle), span, middle, force)
        if isinstance(pushed, Carry):
            return pushed._replace(x=langevin(pushed.x, middle, nxt))
        return langevin(pushed, middle, nxt)

    @abstractmethod
    def push(self, x: Blocks, span: Span, middle: Level, force: Callable[[Blocks, Level], Blocks]) -> Any:
        """x after the time cur.t - nxt.t of x' = force(x, level) = G G^T (score + S^-1 x), alone or in a Carry."""


@SOLVERS.register("sscs")
@dataclass(frozen=True)
class SSCS(Splitting):
    """Symmetric splitting sampler: half an exact Langevin step, a score step, half an exact Langevin step.

        A: the reverse-time process of the stationary law N(0, S) over half the interval, exactly
        S: x <- x + G G^T (score(x; t_cur) + S^-1 x) dt

    For CLD S = diag(1, M), and step S moves v by 2 Gamma beta (score_v + v / M) dt. Each half of A uses its own half of
    the interval, so beta may vary. The score step is Euler's: order 1. Any SDE of several blocks whose prior is
    stationary fits.
    Source: Dockhorn et al. 2022, arXiv:2112.07068, algorithm 1 and appendix D; its code takes both halves at one clock.
    """

    weak_order: ClassVar[float] = 1.0
    strong_order: ClassVar[float] = 1.0

    def push(self, x: Blocks, span: Span, middle: Level, force: Callable[[Blocks, Level], Blocks]) -> Blocks:
        return x + force(x, span.cur) * (span.cur.t - span.nxt.t)


@SOLVERS.register("sscs_2s")
@dataclass(frozen=True)
class SSCS2S(Splitting):
    """Symmetric splitting of second order: the score's push by the midpoint rule, two network calls a step.

        A: as in sscs, exactly, over each half of the interval
        S: x <- x + f(x + f(x) dt / 2) dt,   f(x) = G G^T (score + S^-1 x) at the middle of the interval

    A(dt/2) S(dt) A(dt/2) is symmetric in time, so its law converges with order 2 once S is solved to order 2. S moves
    the last block alone, but the score depends on that, and the Euler step of sscs costs it an order.
    Source: Dockhorn et al. 2022, arXiv:2112.07068, appendix D (the splitting); Strang 1968, SIAM J. Numer. Anal. 5,
    506; Hairer, Norsett & Wanner 1993, section II.1 (the midpoint rule).
    """

    weak_order: ClassVar[float] = 2.0
    strong_order: ClassVar[float] = 1.0
    calls: ClassVar[int] = 2

    def push(self, x: Blocks, span: Span, middle: Level, force: Callable[[Blocks, Level], Blocks]) -> Blocks:
        dt = span.cur.t - span.nxt.t
        return x + force(x + force(x, middle) * (0.5 * dt), middle) * dt


@SOLVERS.register("sscs_2m")
@dataclass(frozen=True)
class SSCS2M(Splitting):
    """Symmetric splitting of second order by the last step's force, one network call a step.

        A: as in sscs, exactly, over each half of the interval
        S: x <- x + f dt,   f = G G^T (score + S^-1 x) at x + f_before dt / 2, in the middle of the interval

    f_before, of the step before, is what the midpoint rule of sscs_2s calls the network for. It is off by the change of
    the force in a step, noise of order sqrt(dt) that is independent of what follows: order 2 stays. The first step has
    f_before = 0, which costs one error of second order.
    Source: Dockhorn et al. 2022, arXiv:2112.07068, appendix D (the splitting); the prediction of the midpoint is ours.
    """

    weak_order: ClassVar[float] = 2.0
    strong_order: ClassVar[float] = 1.0
    memory: ClassVar[int] = 1

    def push(self, x: Blocks, span: Span, middle: Level, force: Callable[[Blocks, Level], Blocks]) -> Carry:
        dt = span.cur.t - span.nxt.t
        found = force(x + span.past[0] * (0.5 * dt) if span.past else x, middle)
        return Carry(x + found * dt, found)


def reversed_kernel(mean: Mat, factor: Mat, prior: Mat) -> tuple[Mat, Mat]:
    """Mean map and lower factor of the covariance of the time-reversed process of the stationary law N(0, S).

    S = prior prior^T. In coordinates in which it is 1, the forward map E and covariance Q = 1 - E E^T become E^T and
    1 - E^T E. Over a short span that is E^-1 Q E, which loses no digits; over a long one, where E is nearly singular
    and E^T E small, the difference. The normals' signs alternate as time reversal has them, block by block: for CLD the
    pair is J E J, J L with J = diag(1, -1).
    """
    back, one = _inverse(prior), Mat.diag(*[1.0] * len(prior))
    white, spread = back @ mean @ prior, back @ factor
    try:
        inverse = _inverse(white)
        short = _size(white) * _size(inverse) < CONDITION
    except ZeroDivisionError:
        inverse, short = one, False
    cov = inverse @ spread @ spread.T @ white if short else one - white.T @ white
    cov = prior @ ((cov + cov.T) * 0.5) @ prior.T
    signs = Mat.diag(*((-1.0) ** i for i in range(len(prior))))
    return prior @ white.T @ back, cov.cholesky() @ signs


def _inverse(matrix: Mat) -> Mat:
    return matrix.solve(Mat.diag(*[1.0] * len(matrix)))


def _size(matrix: Mat) -> float:
    """The largest absolute row sum."""
    return max(sum(map(abs, row)) for row in matrix)
