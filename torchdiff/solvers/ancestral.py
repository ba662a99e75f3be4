"""Ancestral steps: a method without noise to sigma_down, and noise up to the next level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.errors import OptionError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import Level, ScalarSDE
from torchdiff.solvers.base import Noise, Predict, Span
from torchdiff.solvers.exponential import data_step, rise
from torchdiff.solvers.ratio import level_of, midpoint, ratio, slope_step
from torchdiff.solvers.scalar import WithEta


def split(cur: Level, nxt: Level, eta: float) -> tuple[float, float]:
    """(down, up) in units of sigma / alpha: where the deterministic part ends, and the noise that leads to nxt.

    up = min(s', eta s' sqrt(1 - s'^2 / s^2)),   down^2 = s'^2 - up^2
    """
    s = ratio(nxt)
    if eta == 0.0:
        return s, 0.0
    up = min(s, eta * s * math.sqrt(-math.expm1(-2.0 * rise(cur, nxt))))
    return math.sqrt(s * s - up * up), up


def lowered(x: Any, cur: Level, nxt: Level, down: float, x0: Any) -> Any:
    """x after DDIM's step with this x0 to sigma / alpha = down, in the units of alpha at nxt.

    There may be no level of that sigma / alpha: it can lie below the cleanest one of the process.
    """
    gain = down / ratio(cur)
    return (nxt.alpha / cur.alpha * gain) * x + (nxt.alpha * (1.0 - gain)) * x0


def renoise(x: Any, span: Span, up: float, noise: Noise) -> Any:
    """x at nxt with the noise of an ancestral step."""
    return x if up == 0.0 else x + (span.nxt.alpha * up) * noise(span.cur, span.nxt)


@dataclass(frozen=True)
class _TwoCalls(WithEta):
    """Second order without noise, by a second network call; with noise first order."""

    calls: ClassVar[int] = 2

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return 2.0 if self.eta == 0.0 else 1.0


@SOLVERS.register("euler_ancestral")
@dataclass(frozen=True)
class EulerAncestral(WithEta):
    """Euler's step in sigma / alpha to sigma_down, and noise up to nxt; with the same eta it is DDIM's step.

        up = eta s' sqrt(1 - s'^2 / s^2),   down = sqrt(s'^2 - up^2),   x' / alpha' = x / alpha + (down - s) eps + up z

    s and s' are sigma / alpha at cur and nxt.
    Raises OptionError for eta < 0.
    Source: k-diffusion's sample_euler_ancestral.
    """

    weak_order: ClassVar[float] = 1.0

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        down, up = split(cur, nxt, self.eta)
        return renoise(slope_step(x, cur, nxt.alpha, down - ratio(cur), predict(x, cur).eps), span, up, noise)


@SOLVERS.register("dpm2_ancestral")
@dataclass(frozen=True)
class DPM2Ancestral(_TwoCalls):
    """The midpoint method of dpm2 to sigma_down, and noise up to nxt. Two network calls a step.

    Raises OptionError for eta < 0.
    Source: k-diffusion's sample_dpm_2_ancestral.
    """

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        down, up = split(span.cur, span.nxt, self.eta)
        if down == 0.0:  # eta so large that the step ends at the data before its noise
            return renoise(span.nxt.alpha * predict(x, span.cur).x0, span, up, noise)
        return renoise(midpoint(x, span, predict, down), span, up, noise)


@SOLVERS.register("dpmpp_2s_ancestral")
@dataclass(frozen=True)
class DPMpp2SAncestral(_TwoCalls):
    """DPM-Solver++(2S) to sigma_down, and noise up to nxt. Two network calls a step.

    Raises OptionError for eta < 0.
    Source: k-diffusion's sample_dpmpp_2s_ancestral.
    """

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        down, up = split(cur, nxt, self.eta)
        x0 = predict(x, cur).x0
        if down == 0.0:
            return renoise(nxt.alpha * x0, span, up, noise)
        middle = level_of(span.sde, math.sqrt(ratio(cur) * down))
        ahead = predict(data_step(x, cur, middle, [(cur, x0)]), middle).x0
        return renoise(lowered(x, cur, nxt, down, ahead), span, up, noise)


@SOLVERS.register("dpmpp_sde")
@dataclass(frozen=True)
class DPMppSDE(_TwoCalls):
    """k-diffusion's DPM-Solver++ (SDE): two ancestral steps from x, to the fraction r and to nxt. Two network calls.

    The second one, from x again, uses (1 - 1 / 2r) x0 + x0_r / 2r. Its noise and that of the first are drawn for
    intervals that overlap, as in the source; with noise="brownian" it cannot run.
    Raises OptionError for eta < 0 and r outside (0, 1).
    Source: k-diffusion's sample_dpmpp_sde.
    """

    r: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.r < 1.0:
            raise OptionError(f"dpmpp_sde: r must lie between 0 and 1, got {self.r!r}")

    @property
    def draws(self) -> int:
        return 2 * (self.eta > 0.0)

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        assert isinstance(span.sde, ScalarSDE)
        middle = span.sde.at(cur.half_log_snr + self.r * rise(cur, nxt))
        x0 = predict(x, cur).x0
        ahead = predict(self.ancestral(x, span, cur, middle, x0, noise), middle).x0
        share = 0.5 / self.r
        return self.ancestral(x, span, cur, nxt, (1.0 - share) * x0 + share * ahead, noise)

    def ancestral(self, x: Any, span: Span, cur: Level, nxt: Level, x0: Any, noise: Noise) -> Any:
        """The step to sigma_down with this x0, and noise up to nxt."""
        down, up = split(cur, nxt, self.eta)
        x = lowered(x, cur, nxt, down, x0)
        return x if up == 0.0 else x + (nxt.alpha * up) * noise(cur, nxt)
