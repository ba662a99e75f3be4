"""The sigma family: methods on d(x / alpha) / d(sigma / alpha) = eps as k-diffusion and EDM write them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.errors import OptionError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import Level, LinearSDE, ScalarSDE
from torchdiff.sde.flow import Flow
from torchdiff.solvers.base import AffineSolver, Noise, Predict, Span
from torchdiff.solvers.exponential import check_amount, data_step, rise


def ratio(level: Level) -> float:
    return level.sigma / level.alpha


def level_of(sde: LinearSDE, ratio: float) -> Level:
    assert isinstance(sde, ScalarSDE)
    return sde.at(-math.log(ratio))


def split(cur: Level, nxt: Level, eta: float) -> tuple[float, float]:
    """(down, up) in units of sigma / alpha: where the deterministic part ends, and the noise that leads to nxt.

    up = min(s', eta s' sqrt(1 - s'^2 / s^2)),   down^2 = s'^2 - up^2
    """
    s = ratio(nxt)
    up = min(s, eta * s * math.sqrt(-math.expm1(-2.0 * rise(cur, nxt))))
    return math.sqrt(s * s - up * up), up


def renoise(x: Any, span: Span, up: float, noise: Noise) -> Any:
    """x at nxt with the noise of an ancestral step."""
    return x if up == 0.0 else x + (span.nxt.alpha * up) * noise(span.cur, span.nxt)


def slope_step(x: Any, cur: Level, alpha: float, width: float, eps: Any) -> Any:
    """alpha (x / alpha_cur + width eps): a step of `width` in sigma / alpha, in the units of alpha."""
    return (alpha / cur.alpha) * x + (alpha * width) * eps


@dataclass(frozen=True)
class _Sigma(AffineSolver):
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE

    @property
    def deterministic(self) -> bool:
        return True


@SOLVERS.register("euler")
@dataclass(frozen=True)
class Euler(_Sigma):
    """Euler's method in sigma / alpha, which is DDIM.

    Source: Karras et al. 2022, arXiv:2206.00364, algorithm 1 without its correction.
    """

    weak_order: ClassVar[float] = 1.0

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        return slope_step(x, cur, nxt.alpha, ratio(nxt) - ratio(cur), predict(x, cur).eps)


@SOLVERS.register("dpm2")
@dataclass(frozen=True)
class DPM2(_Sigma):
    """The midpoint method in sigma / alpha, its midpoint in log(sigma / alpha): second order, two network calls a step.

    Source: k-diffusion's sample_dpm_2; Karras et al. 2022, arXiv:2206.00364, appendix D.2.
    """

    weak_order: ClassVar[float] = 2.0
    calls: ClassVar[int] = 2

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        return midpoint(x, span, predict, ratio(span.nxt))


def midpoint(x: Any, span: Span, predict: Predict, end: float) -> Any:
    """x at nxt's alpha after a midpoint step from cur to sigma / alpha = end."""
    cur = span.cur
    start = ratio(cur)
    middle = level_of(span.sde, math.sqrt(start * end))
    point = slope_step(x, cur, middle.alpha, ratio(middle) - start, predict(x, cur).eps)
    return slope_step(x, cur, span.nxt.alpha, end - start, predict(point, middle).eps)


@dataclass(frozen=True)
class _Ancestral(AffineSolver):
    """eta = 0 adds no noise, eta = 1 the noise of the ancestral step."""

    eta: float = 1.0
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE

    def __post_init__(self) -> None:
        check_amount(type(self).__name__, "eta", self.eta)

    @property
    def deterministic(self) -> bool:
        return self.eta == 0.0


@SOLVERS.register("euler_ancestral")
@dataclass(frozen=True)
class EulerAncestral(_Ancestral):
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
class DPM2Ancestral(_Ancestral):
    """The midpoint method of dpm2 to sigma_down, and noise up to nxt. Two network calls a step.

    Raises OptionError for eta < 0.
    Source: k-diffusion's sample_dpm_2_ancestral.
    """

    calls: ClassVar[int] = 2

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return 2.0 if self.eta == 0.0 else 1.0

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        down, up = split(span.cur, span.nxt, self.eta)
        if down == 0.0:  # eta so large that the step ends at the data before its noise
            return renoise(span.nxt.alpha * predict(x, span.cur).x0, span, up, noise)
        return renoise(midpoint(x, span, predict, down), span, up, noise)


@SOLVERS.register("dpmpp_2s_ancestral")
@dataclass(frozen=True)
class DPMpp2SAncestral(_Ancestral):
    """DPM-Solver++(2S) to sigma_down, and noise up to nxt. Two network calls a step.

    Raises OptionError for eta < 0.
    Source: k-diffusion's sample_dpmpp_2s_ancestral.
    """

    calls: ClassVar[int] = 2

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return 2.0 if self.eta == 0.0 else 1.0

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        down, up = split(cur, nxt, self.eta)
        x0 = predict(x, cur).x0
        if down == 0.0:
            return renoise(nxt.alpha * x0, span, up, noise)
        lower = level_of(span.sde, down)
        middle = level_of(span.sde, math.sqrt(ratio(cur) * down))
        ahead = predict(data_step(x, cur, middle, [(cur, x0)]), middle).x0
        return renoise((nxt.alpha / lower.alpha) * data_step(x, cur, lower, [(cur, ahead)]), span, up, noise)


@SOLVERS.register("dpmpp_sde")
@dataclass(frozen=True)
class DPMppSDE(_Ancestral):
    """k-diffusion's DPM-Solver++ (SDE): two ancestral steps from x, to the fraction r and to nxt. Two network calls.

    The second one, from x again, uses (1 - 1 / 2r) x0 + x0_r / 2r. Its noise and that of the first are drawn for
    intervals that overlap, as in the source; with noise="brownian" it cannot run.
    Raises OptionError for eta < 0 and r outside (0, 1).
    Source: k-diffusion's sample_dpmpp_sde.
    """

    r: float = 0.5
    calls: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.r < 1.0:
            raise OptionError(f"dpmpp_sde: r must lie between 0 and 1, got {self.r!r}")

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return 2.0 if self.eta == 0.0 else 1.0

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
        gain = down / ratio(cur)
        x = (nxt.alpha / cur.alpha * gain) * x + (nxt.alpha * (1.0 - gain)) * x0
        return x if up == 0.0 else x + (nxt.alpha * up) * noise(cur, nxt)


@SOLVERS.register("edm")
@dataclass(frozen=True)
class EDM(AffineSolver):
    """EDM's stochastic sampler: churn, then Heun's step in s = sigma / alpha. Two network calls a step.

        s^ = s (1 + g),   g = min(churn / N, sqrt(2) - 1) where low <= s <= high,   x^ = x + sqrt(s^^2 - s^2) noise z
        then heun from s^ to the next level

    x is in units of x / alpha; N counts the intervals of the grid, the final one included. s^ never exceeds the largest
    level of the SDE. churn = 0 is heun, of order 2; with churn the law of x converges at order 2 from the exact law at the
    start, but what becomes of a start that is not exact only at order 1, for g is not churn / N to second order.
    Raises OptionError for churn < 0 or s_noise < 0.
    Source: Karras et al. 2022, arXiv:2206.00364, algorithm 2.
    """

    churn: float = 0.0
    low: float = 0.0
    high: float = math.inf
    s_noise: float = 1.0
    calls: ClassVar[int] = 2
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE

    def __post_init__(self) -> None:
        check_amount("edm", "churn", self.churn)
        check_amount("edm", "s_noise", self.s_noise)

    @property
    def weak_order(self) -> float:  # type: ignore[override]
        return 2.0 if self.churn == 0.0 else 1.0

    @property
    def deterministic(self) -> bool:
        return self.churn == 0.0

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        if self.churn > 0.0 and self.low <= ratio(cur) <= self.high:
            raised = self.raised(span)
            if raised is not cur:
                extra = math.sqrt(ratio(raised) ** 2 - ratio(cur) ** 2)
                x = (raised.alpha / cur.alpha) * x + (raised.alpha * self.s_noise * extra) * noise(cur, cur)
                cur = raised
        width = ratio(nxt) - ratio(cur)
        eps = predict(x, cur).eps
        ahead = predict(slope_step(x, cur, nxt.alpha, width, eps), nxt).eps
        return slope_step(x, cur, nxt.alpha, width, 0.5 * eps + 0.5 * ahead)

    def raised(self, span: Span) -> Level:
        """The level that churn goes up to, the present one where the SDE has no higher."""
        sde, cur = span.sde, span.cur
        top = sde.level(sde.t_max)
        if not cur.half_log_snr > top.half_log_snr:
            return cur
        gain = min(self.churn / (len(span.grid) - 1), math.sqrt(2.0) - 1.0)
        assert isinstance(sde, ScalarSDE)
        return sde.at(max(cur.half_log_snr - math.log1p(gain), top.half_log_snr))


@SOLVERS.register("rf_ancestral")
@dataclass(frozen=True)
class RFAncestral(AffineSolver):
    """Euler ancestral on the straight path: Euler's step to sigma_down, and a return to nxt that keeps alpha + sigma = 1.

        down = s' (1 + (s' / s - 1) eta),   x_down = (down / s) x + (1 - down / s) x0
        x' = (alpha' / alpha_down) x_down + sqrt(s'^2 - (down alpha' / alpha_down)^2) z

    Raises OptionError for eta outside [0, 1].
    Source: ComfyUI's sample_euler_ancestral_RF.
    """

    eta: float = 1.0
    weak_order: ClassVar[float] = 1.0
    accepts: ClassVar[type[LinearSDE]] = Flow
    ends: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0.0 <= self.eta <= 1.0:
            raise OptionError(f"rf_ancestral: eta must lie in [0, 1], got {self.eta!r}")

    @property
    def deterministic(self) -> bool:
        return self.eta == 0.0

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        x0 = predict(x, cur).x0
        down = nxt.sigma * (1.0 + (nxt.sigma / cur.sigma - 1.0) * self.eta)
        gain, back = down / cur.sigma, nxt.alpha / (1.0 - down)
        x = (back * gain) * x + (back * (1.0 - gain)) * x0
        if self.eta == 0.0 or nxt.sigma == 0.0:
            return x
        return x + math.sqrt(nxt.sigma**2 - (down * back) ** 2) * noise(cur, nxt)
