"""How far what a plan returns is from Gaussian data: W2, KL, each eigenvalue's own error, and where it comes from."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from torchdiff.denoiser import Denoiser
from torchdiff.errors import OptionError
from torchdiff.gaussian.laws import Array, Gaussian, data, marginal, prior
from torchdiff.gaussian.pushing import push
from torchdiff.plans import Plan
from torchdiff.solvers.denoise import denoiser_for
from torchdiff.trace import trace


class Errors(NamedTuple):
    """Signed errors of the position along each of K eigenvectors: of its mean and its standard deviation, (K,) each."""

    mean: Array
    deviation: Array

    @property
    def w2(self) -> float:
        """Their root sum of squares: the W2 distance of two normal laws that share their eigenvectors."""
        return math.sqrt(float(np.sum(self.mean**2) + np.sum(self.deviation**2)))

    def __sub__(self, other: Errors) -> Errors:
        return Errors(self.mean - other.mean, self.deviation - other.deviation)


class Split(NamedTuple):
    """Where the error of a plan comes from: along each eigenvector, total = prior + steps + end.

    prior: it starts from the prior, not from the exact marginal; steps: its finite number of steps; end: an exact run
    would end there, at t_min or with the denoising step, and not at the data.
    """

    prior: Errors
    steps: Errors
    end: Errors
    total: Errors


def moments(plan: Plan, variance: ArrayLike, mean: ArrayLike = 0.0, *, start: str = "prior") -> Gaussian:
    """Mean and covariance of what a plan returns; start: "prior" as `sample` does, or the exact "marginal"."""
    return push(plan, variance, mean).apply(beginning(plan, variance, mean, start))


def beginning(plan: Plan, variance: ArrayLike, mean: ArrayLike = 0.0, start: str = "prior") -> Gaussian:
    """The law that a plan starts from: the "prior", or the exact "marginal" there."""
    if start not in ("prior", "marginal"):
        raise OptionError(f"start is 'prior' or 'marginal', got {start!r}")
    if start == "marginal":
        return marginal(plan.sde, plan.grid[0], variance, mean)
    return prior(plan.sde, plan.grid[0], variance)


def end(plan: Plan, variance: ArrayLike, mean: ArrayLike = 0.0) -> Gaussian:
    """The law that infinitely many steps would end with: the marginal at the last level, or what the denoising step
    makes of the marginal before it."""
    if not plan.final:
        return marginal(plan.sde, plan.grid[-1], variance, mean)
    denoiser = Denoiser(None, "eps" if plan.blocks == 1 else "score")
    last = trace(denoiser_for(plan.sde), plan.sde, plan.grid[-2:], denoiser)
    return push(last, variance, mean).apply(marginal(plan.sde, plan.grid[-2], variance, mean))


def errors(plan: Plan, variance: ArrayLike, mean: ArrayLike = 0.0, *, start: str = "prior") -> Errors:
    """Each eigenvalue's own error of what a plan returns (the position), in units of the data."""
    var, center = _sampled(plan, variance, mean)
    law = moments(plan, var, center, start=start)
    return Errors(law.mean[:, 0] - center, law.deviation - np.sqrt(var))


def split(plan: Plan, variance: ArrayLike, mean: ArrayLike = 0.0) -> Split:
    """The error of a plan in its three parts; of W2 the triangle inequality holds: total <= prior + steps + end."""
    var, center = _sampled(plan, variance, mean)
    map_, last = push(plan, var, center), end(plan, var, center)
    laws = [map_.apply(beginning(plan, var, center, start)) for start in ("prior", "marginal")] + [last]
    whole, exact, ideal = (Errors(law.mean[:, 0] - center, law.deviation - np.sqrt(var)) for law in laws)
    return Split(whole - exact, exact - ideal, ideal, whole)


def w2(plan: Plan, variance: ArrayLike, mean: ArrayLike = 0.0, *, start: str = "prior") -> float:
    """Wasserstein-2 distance between what a plan returns (the position) and the data N(mean, variance).

    W2^2 = sum over eigenvalues of (difference of means)^2 + (difference of standard deviations)^2: both covariances
    share their eigenvectors (Gelbrich 1990). In units of the data.
    """
    return errors(plan, variance, mean, start=start).w2


def kl(plan: Plan, variance: ArrayLike, mean: ArrayLike = 0.0, *, start: str = "prior") -> float:
    """Kullback-Leibler divergence KL(data | what a plan returns) in nats, the excess of its negative log-likelihood.

        sum over eigenvalues of (v / q - 1 - log(v / q) + (difference of means)^2 / q) / 2,   v of data, q of the plan

    Infinite where one of v and q is 0 and the other is not; an eigenvalue that is 0 in both, with equal means, adds 0.
    """
    var, center = _sampled(plan, variance, mean)
    law = moments(plan, var, center, start=start)
    return divergence(var, center, law.cov[:, 0, 0], law.mean[:, 0])


def divergence(var: Array, center: Array, other: Array, mean: Array) -> float:
    """KL(N(center, var) | N(mean, other)) in nats, summed over (K,) independent normals."""
    same = (var == other) & (center == mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = (var - other) / other
        small = np.abs(excess) < 1e-4  # below it x - log1p(x) would lose more digits than three terms of its series
        spread = np.where(small, excess**2 * (0.5 - excess * (1.0 / 3.0 - 0.25 * excess)), excess - np.log1p(excess))
        terms = 0.5 * (spread + (mean - center) ** 2 / other)
    gone = (np.minimum(var, other) <= 0.0) & ~same
    return float(np.sum(np.where(same, 0.0, np.where(gone, math.inf, terms))))


def _sampled(plan: Plan, variance: ArrayLike, mean: ArrayLike) -> tuple[Array, Array]:
    if plan.grid[0].t < plan.grid[-1].t:
        raise OptionError("this plan encodes: what it returns is noise, not data; see moments")
    return data(variance, mean)
