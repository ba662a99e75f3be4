"""Critically damped Langevin dynamics: position and velocity."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torchdiff.blocks import Mat
from torchdiff.errors import OptionError
from torchdiff.registry import SDES
from torchdiff.sde.base import Level, LinearSDE


@SDES.register("cld")
@dataclass(frozen=True)
class CLD(LinearSDE):
    """Critically damped Langevin diffusion of position x and velocity v.

        dx = beta(t) v / M dt,   dv = -beta(t) (x + Gamma v / M) dt + sqrt(2 Gamma beta(t)) dw,   Gamma = 2 sqrt(M)
        beta(t) = beta + slope t;   x_0 = data, v_0 ~ N(0, gamma M);   stationary law N(0, 1) x N(0, M)

    t is dimensionless, in [0, t_max], data at t = 0; mass is M, friction is Gamma. The defaults are the paper's; its
    later code uses beta = 0.1, slope = 6.9. `cld:mass=1,beta=1` is dX = V dt, dV = -X dt - 2 V dt + 2 dW.
    The level integrates v_0 out (hybrid score matching); gamma = 0 starts from rest.
    A network predicts for the velocity: "score" is grad_v log p, "eps" the second normal, score_v = -eps / sigma[1][1].
    Raises OptionError for a mass, beta or gamma that makes no process, and for t outside [0, t_max].
    Source: Dockhorn et al. 2022, arXiv:2112.07068, eqs. 3, 5 and appendix B.1; their gamma multiplies M as here.
    """

    mass: float = 0.25
    beta: float = 4.0
    slope: float = 0.0
    gamma: float = 0.04
    t_min: float = 1e-3
    t_max: float = 1.0
    blocks = 2

    def __post_init__(self) -> None:
        self.check_range()
        if not (0.0 < self.mass < math.inf and 0.0 <= self.gamma < math.inf):
            raise OptionError(f"cld needs mass > 0 and gamma >= 0, got mass = {self.mass!r}, gamma = {self.gamma!r}")
        if not (0.0 < self.beta < math.inf and 0.0 < self.beta + self.slope * self.t_max < math.inf):
            raise OptionError(
                f"cld needs beta + slope t > 0 on [0, {self.t_max:g}], got beta = {self.beta!r}, slope = {self.slope!r}"
            )

    @property
    def friction(self) -> float:
        """Gamma, critical: Gamma^2 = 4 M."""
        return 2.0 * math.sqrt(self.mass)

    def rate(self, t: float) -> float:
        return self.beta + self.slope * t

    def clock(self, start: float, end: float) -> float:
        """The integral of beta(t) over [start, end], by factors: no digits are lost where the span is short."""
        return (end - start) * (self.beta + 0.5 * self.slope * (start + end))

    def flow(self, clock: float) -> Mat:
        """Mean map over a span of the clock, E = exp(A clock); -Gamma / 2M = -1 / sqrt(M) is a double eigenvalue."""
        pace = clock / self.friction
        decay = math.exp(-2.0 * pace)
        return Mat(
            [
                [decay * (1.0 + 2.0 * pace), decay * 4.0 * pace / self.friction],
                [-decay * clock, decay * (1.0 - 2.0 * pace)],
            ]
        )

    def covariance(self, clock: float) -> tuple[float, float, float]:
        """Sxx, Sxv, Svv after a span of the clock from a known state; relative accuracy kept as the span goes to 0."""
        y, gamma = 4.0 * clock / self.friction, self.friction
        decay = math.exp(-y)
        third = _tail(y)  # e^y - 1 - y - y^2 / 2
        return decay * third, decay * gamma * y * y / 4.0, decay * 0.25 * gamma * gamma * (third + 2.0 * y)

    def level(self, t: float) -> Level:
        clock = self.clock(0.0, self.check_time(t))
        flow, (sxx, sxv, svv) = self.flow(clock), self.covariance(clock)
        start = self.gamma * self.mass  # the variance of v_0 enters along the second column of the mean map
        push_x, push_v = flow[0][1], flow[1][1]
        det = sxx * svv - sxv * sxv + start * (svv * push_x**2 - 2.0 * sxv * push_x * push_v + sxx * push_v**2)
        sxx, sxv, svv = sxx + start * push_x**2, sxv + start * push_x * push_v, svv + start * push_v**2
        return Level(float(t), flow, _factor(sxx, sxv, svv, det))

    def drift(self, t: float) -> Mat:
        beta = self.rate(self.check_time(t))
        return Mat([[0.0, beta / self.mass], [-beta, -beta * self.friction / self.mass]])

    def noise(self, t: float) -> Mat:
        return Mat([[0.0, 0.0], [0.0, math.sqrt(2.0 * self.friction * self.rate(self.check_time(t)))]])

    def transition(self, start: float, end: float) -> tuple[Mat, Mat]:
        self.check_span(start, end)
        clock = self.clock(start, end)
        sxx, sxv, svv = self.covariance(clock)
        return self.flow(clock), _factor(sxx, sxv, svv, sxx * svv - sxv * sxv)

    def prior(self, t: float) -> Mat:
        self.check_time(t)
        return Mat.diag(1.0, math.sqrt(self.mass))


def _tail(y: float) -> float:
    """e^y - 1 - y - y^2 / 2: by its series below 1, where the difference would keep only log10(6 eps / y^3) digits."""
    if y >= 1.0:
        return math.expm1(y) - y - 0.5 * y * y
    term = total = y * y * y / 6.0
    for k in range(4, 22):  # 1 / 21! < 2e-20: the series has converged for y < 1
        term *= y / k
        total += term
    return total


def _factor(sxx: float, sxv: float, svv: float, det: float) -> Mat:
    """Cholesky factor of [[sxx, sxv], [sxv, svv]]; det comes from outside, where it does not cancel."""
    if sxx == 0.0:
        return Mat([[0.0, 0.0], [0.0, math.sqrt(svv)]])
    return Mat([[math.sqrt(sxx), 0.0], [sxv / math.sqrt(sxx), math.sqrt(det / sxx)]])
