"""Exponential Euler: the linear part of a step exactly, one prediction held fixed. They differ in what is held fixed.

With r = sigma / alpha, h the rise of log(alpha / sigma) and tau the noise in units of that of the reverse SDE,

    score:  x_nxt = alpha_nxt / alpha_cur x + (1 + tau^2) / 2 alpha_nxt int_nxt^cur alpha d(r^2) score + tau S z
    eps:    x_nxt = alpha_nxt / alpha_cur x - (1 + tau^2) sigma_nxt (e^h - 1) eps                      + tau S z
            S = alpha_nxt sqrt(r_cur^2 - r_nxt^2) = sigma_nxt sqrt(e^{2h} - 1)
    x0:     x_nxt = sigma_nxt / sigma_cur e^{-tau^2 h} x + alpha_nxt (1 - e^{-(1 + tau^2) h}) x0
                    + sigma_nxt sqrt(1 - e^{-2 tau^2 h}) z

The first two take F x for the linear part, the third all of the drift that is linear in x once x0 is known. With
tau = 0 the last two are DDIM.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.registry import SOLVERS
from torchdiff.sde.base import LinearSDE, ScalarSDE
from torchdiff.solvers.base import AffineSolver, Noise, Predict, Span
from torchdiff.solvers.exponential import check_amount, data_step, rise, spread
from torchdiff.solvers.quadrature import composite


@dataclass(frozen=True)
class _ExponentialEuler(AffineSolver):
    weak_order: ClassVar[float] = 1.0
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE


def forward_spread(span: Span) -> float:
    """S: the standard deviation of the noise where the linear part is F x."""
    return span.nxt.sigma * math.sqrt(math.expm1(2.0 * rise(span.cur, span.nxt)))


def score_weight(span: Span) -> float:
    """alpha_nxt int_nxt^cur alpha d(sigma^2 / alpha^2), to rounding, on any scalar SDE.

    2 alpha_nxt int_0^h sigma^2 / alpha du at l_cur + u: 2 (alpha_nxt / alpha_cur - 1) on VP, sigma_cur^2 - sigma_nxt^2
    on VE.
    """
    sde, start = span.sde, span.cur.half_log_snr
    assert isinstance(sde, ScalarSDE)
    parts = []
    for u, width in composite(rise(span.cur, span.nxt)):
        level = sde.at(start + u)
        parts.append(width * level.sigma * (level.sigma / level.alpha))
    return 2.0 * span.nxt.alpha * math.fsum(parts)


@SOLVERS.register("exp_em")
@dataclass(frozen=True)
class ExpEM(_ExponentialEuler):
    """Exponential Euler-Maruyama on the reverse SDE: the linear drift exactly, the score held fixed.

        x_nxt = alpha_nxt / alpha_cur x + alpha_nxt int_nxt^cur alpha d(r^2) score + alpha_nxt sqrt(r_cur^2 - r_nxt^2) z

    r = sigma / alpha. On VP the score's weight is 2 (alpha_nxt / alpha_cur - 1); on VE the step is reverse_diffusion's.
    Against dpmpp_1_sde, which is DDPM's step and holds x0 fixed, the noise is that of the forward step turned round
    (ddpm's "fixed_large" times alpha_nxt / alpha_cur), where theirs is the posterior's, and the score's part is not
    that of Tweedie's mean but on VE. Against seeds_1, which holds eps fixed, the noise is the same.
    Source: Chen et al. 2023, arXiv:2209.11215, section 2 (the exponential integrator, on VP with beta = 2); for any
    scalar SDE by the variation of constants.
    """

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        drawn = forward_spread(span) * noise(cur, nxt)
        return (nxt.alpha / cur.alpha) * x + score_weight(span) * predict(x, cur).score + drawn


@SOLVERS.register("seeds_1")
@dataclass(frozen=True)
class SEEDS1(_ExponentialEuler):
    """SEEDS-1 on the noise prediction: exponential Euler on the reverse SDE, eps held fixed.

        x_nxt = alpha_nxt / alpha_cur x - (1 + eta^2) sigma_nxt (e^h - 1) eps + eta sigma_nxt sqrt(e^{2h} - 1) z

    h is the rise of log(alpha / sigma). eta scales the noise: 1 is the reverse SDE, the paper's, and 0 is DDIM. With
    any eta it is azula's ItoSampler. seeds_2 and seeds_3 are on the data prediction, whose first-order method is
    dpmpp_1_sde; its steps are tamer where h is large, for no weight there grows as e^h.
    Raises OptionError for eta < 0.
    Source: Gonzalez et al. 2023, arXiv:2305.14267, algorithm 1; eta as in azula's ItoSampler.
    """

    eta: float = 1.0

    def __post_init__(self) -> None:
        check_amount("seeds_1", "eta", self.eta)

    @property
    def deterministic(self) -> bool:
        return self.eta == 0.0

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        push = (1.0 + self.eta**2) * nxt.sigma * math.expm1(rise(cur, nxt))
        x = (nxt.alpha / cur.alpha) * x - push * predict(x, cur).eps
        return x if self.eta == 0.0 else x + (self.eta * forward_spread(span)) * noise(cur, nxt)


@SOLVERS.register("eta_family")
@dataclass(frozen=True)
class EtaFamily(_ExponentialEuler):
    """From the probability flow to the reverse SDE and beyond: exponential Euler with x0 held fixed.

        dx = (F x - (1 + eta^2) / 2 G^2 score) dt + eta sqrt(temperature) G dw
        x_nxt = sigma_nxt / sigma_cur e^{-eta^2 h} x + alpha_nxt (1 - e^{-(1 + eta^2) h}) x0
                + sqrt(temperature) sigma_nxt sqrt(1 - e^{-2 eta^2 h}) z

    eta is the noise in units of that of the reverse SDE. The same steps by other names, h the rise of log(alpha /
    sigma) in the step:
      sa_solver's tau (one prediction, no corrector)         eta
      dpmpp_1_sde and k-diffusion's 2m_sde, 3m_sde           eta^2
      ddim and k-diffusion's ancestral samplers              sqrt((1 - e^{-2 eta^2 h}) / (1 - e^{-2h})), eta <= 1
      er_sde, first order, phi(r) = r^p                      p = 1 + eta^2
    azula's ItoSampler has this eta and this SDE, but holds eps fixed: seeds_1:eta=. All of them agree at 0 and, but for
    the last, at 1. temperature multiplies the variance of the noise, and is k-diffusion's s_noise squared: 1 keeps the
    marginals; below 1 samples are nearer to the modes, and the law they converge to is not the data's (weak_order is
    None then). azula's temperature divides the score instead, which changes the flow part too.
    Raises OptionError for eta or temperature < 0.
    Source: Karras et al. 2022, arXiv:2206.00364, eq. 6 (their beta is eta^2 sigma' / sigma); Xue et al. 2023,
    arXiv:2309.05019, eq. 14 with tau = eta.
    """

    eta: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_amount("eta_family", "eta", self.eta)
        check_amount("eta_family", "temperature", self.temperature)

    @property
    def weak_order(self) -> float | None:  # type: ignore[override]
        return 1.0 if self.temperature == 1.0 or self.eta == 0.0 else None

    @property
    def deterministic(self) -> bool:
        return self.eta == 0.0 or self.temperature == 0.0

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt, strength = span.cur, span.nxt, self.eta**2
        x = data_step(x, cur, nxt, [(cur, predict(x, cur).x0)], strength)
        if self.deterministic:
            return x
        return x + (math.sqrt(self.temperature) * spread(cur, nxt, strength)) * noise(cur, nxt)


@SOLVERS.register("dpmpp_1")
@dataclass(frozen=True)
class DPMpp1(_ExponentialEuler):
    """DPM-Solver++(1): exponential Euler on the probability flow, x0 held fixed, which is DDIM.

        x_nxt = sigma_nxt / sigma_cur x - alpha_nxt (e^{-h} - 1) x0

    h is the rise of log(alpha / sigma). Runs from data to noise too.
    Source: Lu et al. 2022, arXiv:2211.01095, section 4.1 with k = 1.
    """

    ends: ClassVar[bool] = True

    @property
    def deterministic(self) -> bool:
        return True

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        return (nxt.sigma / cur.sigma) * x - (nxt.alpha * math.expm1(-rise(cur, nxt))) * predict(x, cur).x0
