"""DDIM and DDPM: steps between two marginals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.errors import OptionError
from torchdiff.registry import SOLVERS
from torchdiff.sde.base import LinearSDE, ScalarSDE
from torchdiff.solvers.base import AffineSolver, Noise, Predict, Span


@SOLVERS.register("ddim")
@dataclass(frozen=True)
class DDIM(AffineSolver):
    """DDIM; eta = 0 is deterministic, eta = 1 is ancestral DDPM.

        x_nxt = alpha_nxt x0 + sqrt(sigma_nxt^2 - up^2) eps + up z,   up = eta sigma_nxt sqrt(1 - e^{-2h})

    h is the rise of log(alpha / sigma). Runs from data to noise too when eta = 0.
    Raises OptionError for eta outside [0, 1].
    Source: Song et al. 2021, arXiv:2010.02502, eqs. 12 and 16, with alpha, sigma for their square roots.
    """

    eta: float = 0.0
    weak_order: ClassVar[float] = 1.0
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE
    ends: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0.0 <= self.eta <= 1.0:
            raise OptionError(f"ddim: eta must lie in [0, 1], got {self.eta!r}")

    @property
    def deterministic(self) -> bool:
        return self.eta == 0.0

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        model = predict(x, cur)
        if self.eta == 0.0:
            return nxt.alpha * model.x0 + nxt.sigma * model.eps
        fresh = -math.expm1(-2.0 * (nxt.half_log_snr - cur.half_log_snr))
        up = self.eta * nxt.sigma * math.sqrt(fresh)
        down = nxt.sigma * math.sqrt(1.0 - self.eta**2 * fresh)
        return nxt.alpha * model.x0 + down * model.eps + up * noise(cur, nxt)


@SOLVERS.register("ddpm")
@dataclass(frozen=True)
class DDPM(AffineSolver):
    """Ancestral sampling: the posterior of the two-time transition, given x and the predicted x0.

        mean = m sigma_nxt^2 / sigma_cur^2 x + alpha_nxt c^2 / sigma_cur^2 x0,   m = alpha_cur / alpha_nxt
        variance "fixed_small": c^2 sigma_nxt^2 / sigma_cur^2,   "fixed_large": c^2 = sigma_cur^2 - m^2 sigma_nxt^2
        "learned_range": fixed_large^f fixed_small^(1 - f), f = (v + 1) / 2, v the second half of the network's channels

    "fixed_large" has the larger noise of the paper's other choice; no noise is added in a step to sigma = 0.
    "learned_range" is not affine and runs on tensors, with networks wrapped by variance=True.
    Raises OptionError for another variance; IncompatibleError in the first step for a network that tells none.
    Source: Ho et al. 2020, arXiv:2006.11239, eqs. 6, 7 and section 3.2; Nichol & Dhariwal 2021, arXiv:2102.09672,
    eq. 15.
    """

    variance: str = "fixed_small"
    weak_order: ClassVar[float] = 1.0
    accepts: ClassVar[type[LinearSDE]] = ScalarSDE
    ends: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.variance not in (known := ("fixed_small", "fixed_large", "learned_range")):
            raise OptionError(f"ddpm: variance is one of {', '.join(map(repr, known))}, got {self.variance!r}")

    @property
    def affine(self) -> bool:  # type: ignore[override]
        return self.variance != "learned_range"

    def step(self, x: Any, span: Span, predict: Predict, noise: Noise) -> Any:
        cur, nxt = span.cur, span.nxt
        model = predict(x, cur)
        if nxt.sigma == 0.0:
            return nxt.alpha * model.x0
        h = nxt.half_log_snr - cur.half_log_snr
        fresh = -math.expm1(-2.0 * h)  # c^2 / sigma_cur^2 without cancellation
        # m sigma_nxt^2 / sigma_cur^2 = sigma_nxt / sigma_cur e^{-h}, also where alpha_cur = 0
        mean = (nxt.sigma / cur.sigma * math.exp(-h)) * x + (nxt.alpha * fresh) * model.x0
        if self.variance == "learned_range":
            # sqrt(fresh) sigma_nxt^(1 - f) sigma_cur^f, about the geometric mean of the two that it lies between
            centre, half = 0.5 * math.log(fresh * cur.sigma * nxt.sigma), 0.5 * math.log(cur.sigma / nxt.sigma)
            return mean + (model.variance * half + centre).exp() * noise(cur, nxt)
        scale = nxt.sigma if self.variance == "fixed_small" else cur.sigma
        return mean + (scale * math.sqrt(fresh)) * noise(cur, nxt)
