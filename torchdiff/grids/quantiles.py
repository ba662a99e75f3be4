"""Quantiles of a distribution: equal steps in its cumulative probability."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torchdiff.errors import OptionError
from torchdiff.grids.base import Spaced, check_positive, half_log_snrs, scalar
from torchdiff.registry import GRIDS
from torchdiff.sde.base import LinearSDE


@GRIDS.register("beta")
@dataclass(frozen=True)
class Beta(Spaced):
    """Quantiles of a beta distribution in t: dense at both ends where alpha, beta < 1.

        t(f) = t_min + (t_max - t_min) Q(1 - f),   Q the quantile function of Beta(alpha, beta), f = 0 ... 1

    alpha belongs to the data end, beta to the noisy one. For any number of blocks. The times are not rounded to
    training indices, as ComfyUI's are, so that none is lost at many steps.
    Raises OptionError for alpha or beta <= 0.
    Source: Lee et al. 2024, arXiv:2407.12173 (alpha = beta = 0.6); ComfyUI, beta_scheduler.
    """

    alpha: float = 0.6
    beta: float = 0.6

    def __post_init__(self) -> None:
        check_positive("beta", alpha=self.alpha, beta=self.beta)

    def between(self, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
        return _beta(self.alpha, self.beta, t_max, t_min)


@GRIDS.register("beta_sigma")
@dataclass(frozen=True)
class BetaSigma(Spaced):
    """Quantiles of a beta distribution in sigma / alpha (use_beta_sigmas of diffusers).

        r(f) = r_min + (r_max - r_min) Q(1 - f),   r = sigma / alpha, Q of Beta(alpha, beta), f = 0 ... 1

    The paper, ComfyUI and grid `beta` take the quantiles in t, where half of the steps are not spent on the largest
    sigmas.
    Raises OptionError for alpha or beta <= 0; IncompatibleError for block SDEs and where an end has alpha = 0 or
    sigma = 0.
    Source: diffusers, _convert_to_beta; Lee et al. 2024, arXiv:2407.12173.
    """

    alpha: float = 0.6
    beta: float = 0.6

    def __post_init__(self) -> None:
        check_positive("beta_sigma", alpha=self.alpha, beta=self.beta)

    def between(self, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
        sde, start, end = half_log_snrs("beta_sigma", sde, t_max, t_min)
        ratio = _beta(self.alpha, self.beta, math.exp(-start), math.exp(-end))
        return lambda fraction: sde.at(-math.log(ratio(fraction))).t


@GRIDS.register("laplace")
@dataclass(frozen=True)
class Laplace(Spaced):
    """Quantiles of a Laplace distribution in log(sigma / alpha): dense around mu.

        log r(p) = mu - beta sign(1/2 - p) log(1 - |1 - 2 p|),   r = sigma / alpha, p in equal steps from end to end

    mu: where the steps are dense; beta > 0: how wide. p is the probability of a larger r, 0 at alpha = 0 and 1 at
    sigma = 0, both of which may be ends. ComfyUI takes p from 0 to 1 whatever the ends and clips r to them, which puts
    several times on one; here p starts and ends where r does.
    Raises OptionError for beta <= 0, mu that is not finite, and ends of one p; IncompatibleError for block SDEs.
    Source: Hang et al. 2024, arXiv:2407.03297, table 1, on lambda = -2 log r (their mu and b are -2 mu and 2 beta);
    ComfyUI, get_sigmas_laplace, on log r.
    """

    mu: float = 0.0
    beta: float = 0.5

    def __post_init__(self) -> None:
        check_positive("laplace", beta=self.beta)
        if not math.isfinite(self.mu):
            raise OptionError(f"laplace: mu must be finite, got {self.mu!r}")

    def between(self, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
        sde = scalar("laplace", sde)
        ratios = [-sde.level(t).half_log_snr for t in (t_max, t_min)]
        (above, below), (above_end, below_end) = map(self._tails, ratios)
        if above >= above_end and below <= below_end:
            raise OptionError(
                f"laplace: log(sigma / alpha) = {ratios[0]:g} and {ratios[1]:g} are one quantile to a float at "
                f"mu = {self.mu!r}, beta = {self.beta!r}; put mu between them, or take a larger beta"
            )

        def at(fraction: float) -> float:
            # both tails are followed: each keeps its digits where it is the small one
            more, less = above + (above_end - above) * fraction, below + (below_end - below) * fraction
            distance = -math.log(2.0 * more) if more < less else math.log(2.0 * less)
            return sde.at(-self.mu - self.beta * distance).t

        return at

    def _tails(self, log_ratio: float) -> tuple[float, float]:
        """The probabilities of larger and of smaller values."""
        distance = (log_ratio - self.mu) / self.beta
        tail = 0.5 * math.exp(-abs(distance))
        return (tail, 1.0 - tail) if distance > 0.0 else (1.0 - tail, tail)


def _beta(alpha: float, beta: float, high: float, low: float) -> Callable[[float], float]:
    """fraction -> the quantile 1 - fraction of Beta(alpha, beta) between low and high."""
    from scipy.special import betaincinv  # beta.ppf without what scipy.stats loads and checks for it

    return lambda fraction: low + (high - low) * float(betaincinv(alpha, beta, 1.0 - fraction))
