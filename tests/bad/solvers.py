"""Solvers with one fault each, beside the right ones that they derive from."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import ClassVar

import torch

from torchdiff import AffineSolver, Carry, ScalarSDE
from torchdiff.form import Form
from torchdiff.solvers import DDPM, DPMpp2M, EulerMaruyama


@dataclass(frozen=True)
class Right(AffineSolver):
    """DDIM, of first order."""

    weak_order: ClassVar[float | None] = 1.0
    accepts: ClassVar[type] = ScalarSDE

    @property
    def deterministic(self):
        return True

    def step(self, x, span, predict, noise):
        model = predict(x, span.cur)
        return span.nxt.alpha * model.x0 + span.nxt.sigma * model.eps


class OnTensors(Right):
    """The same with a method that only tensors have: linear all the same."""

    affine = False

    def step(self, x, span, predict, noise):
        return super().step(x, span, predict, noise).clone()


class Kutta(Right):
    """The classical Runge-Kutta method on the probability flow, of fourth order."""

    weak_order = 4.0
    calls = 4
    half: ClassVar[float] = 0.5

    def step(self, x, span, predict, noise):
        h, middle = span.nxt.t - span.cur.t, span.sde.level(0.5 * (span.cur.t + span.nxt.t))
        first = predict(x, span.cur).velocity
        second = predict(x + self.half * h * first, middle).velocity
        third = predict(x + self.half * h * second, middle).velocity
        fourth = predict(x + h * third, span.nxt).velocity
        return x + h / 6.0 * (first + 2.0 * second + 2.0 * third + fourth)


class WrongKutta(Kutta):
    half = 0.499


class OnlyOnLinear(Right):
    """The midpoint method, which asks on both sides of each point for the mean: the same where a network is linear."""

    weak_order = 2.0
    calls = 4

    def step(self, x, span, predict, noise):
        h, middle = span.nxt.t - span.cur.t, span.sde.level(0.5 * (span.cur.t + span.nxt.t))

        def mean(x, level):
            aside = math.sqrt(abs(h)) * x
            return 0.5 * (predict(x + aside, level).velocity + predict(x - aside, level).velocity)

        return x + h * mean(x + 0.5 * h * mean(x, span.cur), middle)


class WrongOrder(DPMpp2M):
    """0.4 for the 1 / 2r of a uniform log-SNR grid."""

    def step(self, x, span, predict, noise):
        x0 = predict(x, span.cur).x0
        d = 1.4 * x0 - 0.4 * span.past[0] if span.past else x0
        ratio = span.nxt.sigma / span.cur.sigma
        return Carry(ratio * x + (span.nxt.alpha - ratio * span.cur.alpha) * d, x0)


class WrongOrderOnTensors(OnTensors):
    weak_order = 2.0


class WrongWeight(Right):
    """Converges to something else."""

    def step(self, x, span, predict, noise):
        model = predict(x, span.cur)
        return span.nxt.alpha * model.x0 + 1.0001 * span.nxt.sigma * model.eps


class TooStrong(EulerMaruyama):
    strong_order = 1.5


class TooLow(DPMpp2M):
    weak_order = 1.0


class NotDeterministic(Right):
    deterministic = False


class WrongCalls(OnTensors):
    calls = 2


class RemembersInVain(Right):
    def step(self, x, span, predict, noise):
        return Carry(super().step(x, span, predict, noise), x)


class ReadsNoMemory(Right):
    memory = 2


class WritesIntoX(OnTensors):
    def step(self, x, span, predict, noise):
        result = super().step(x, span, predict, noise)
        x.mul_(0.5)
        return result


class DrawsByItself(DDPM):
    """Global noise in the place of its own."""

    affine = False

    def step(self, x, span, predict, noise):
        return super().step(x, span, predict, lambda start, end: torch.randn(x.shape).to(x))


class SeedsTheWorld(OnTensors):
    weak_order = None

    def step(self, x, span, predict, noise):
        torch.manual_seed(0)
        return super().step(x, span, predict, noise)


class HasAMind(OnTensors):
    """A generator that it keeps."""

    source = torch.Generator()

    def step(self, x, span, predict, noise):
        return super().step(x, span, predict, noise) + 0.01 * torch.randn(x.shape, generator=self.source).to(x)


class OtherShape(OnTensors):
    def step(self, x, span, predict, noise):
        return super().step(x, span, predict, noise)[:, :1]


class OtherDtype(OnTensors):
    def step(self, x, span, predict, noise):
        return super().step(x, span, predict, noise).float()


class MixesTheBatch(OnTensors):
    weak_order = None

    def step(self, x, span, predict, noise):
        x = super().step(x, span, predict, noise)
        return x - 0.01 * x.mean(0)


class TwoFaces(Right):
    """One formula for the plan and one for tensors."""

    def step(self, x, span, predict, noise):
        x = super().step(x, span, predict, noise)
        return x if isinstance(x, Form) else x * 1.001


class InfiniteAtSeven(Right):
    def step(self, x, span, predict, noise):
        return super().step(x, span, predict, noise) * (0.0 * float("inf") if len(span.grid) == 9 else 1.0)


class NotAtTheEnds(Right):
    """Says that it is right at sigma = 0, where its e^h is infinite."""

    ends = True

    def step(self, x, span, predict, noise):
        cur, nxt = span.cur, span.nxt
        rise = math.expm1(nxt.half_log_snr - cur.half_log_snr)
        return nxt.alpha / cur.alpha * x - nxt.sigma * rise * predict(x, cur).eps


class FitsNothing(Right):
    accepts = type("Nothing", (ScalarSDE,), {})


class NoValue(Right):
    __hash__ = None


class Nonlinear(OnTensors):
    """No fault: its order on Gaussian data cannot be measured without sampling, and the report says so."""

    def step(self, x, span, predict, noise):
        x = super().step(x, span, predict, noise)
        return x + 1e-3 * (span.cur.t - span.nxt.t) ** 2 * torch.tanh(x)


class HangsInAStep(Right):
    def step(self, x, span, predict, noise):
        time.sleep(3600)


class DiesInAStep(Right):
    def step(self, x, span, predict, noise):
        import os

        os._exit(3)
