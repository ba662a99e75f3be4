"""The laws of a linear SDE, each as one function that returns the worst error it found and where."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from torchdiff.sde.base import LinearSDE, ScalarSDE
from torchdiff.testing.numeric import derivative, integral

# fractions of t_max, on no round number: a process with tables may have corners there
INSIDE = (0.0137, 0.1031, 0.3517, 0.6127, 0.9433)
SPAN = 1e-6  # of t_max: a short step, as the last ones of a Karras grid are


class Worst(NamedTuple):
    """The largest relative error, and where it is."""

    error: float
    where: str = ""


def worst(errors: Iterator[tuple[float, str]]) -> Worst:
    """The largest; nan is larger than any number."""
    return max((Worst(float(e), w) for e, w in errors), key=lambda w: (w.error != w.error, w.error), default=Worst(0.0))


def matrix(value: Any) -> np.ndarray:
    return np.array(value if isinstance(value, tuple) else [[value]], dtype=np.float64)


def kernel(sde: LinearSDE, start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean map and covariance of the transition."""
    mean, factor = map(matrix, sde.transition(start, end))
    return mean, factor @ factor.T


def marginal(sde: LinearSDE, t: float) -> tuple[np.ndarray, np.ndarray]:
    """alpha and sigma sigma^T of the level."""
    _, alpha, sigma = sde.level(t)
    return matrix(alpha), matrix(sigma) @ matrix(sigma).T


def _ratio(gap: np.ndarray, scale: Any) -> float:
    """The largest |gap| / scale; 0 / 0 is no error."""
    gap, scale = np.broadcast_arrays(np.abs(gap), scale)
    return float(np.where(gap == 0.0, 0.0, gap / np.where(scale == 0.0, 1e-300, scale)).max())


def _apart(got: tuple[np.ndarray, np.ndarray], wanted: tuple[np.ndarray, np.ndarray]) -> float:
    """Relative to the largest entry of the mean map, and to the standard deviations that an entry pairs."""
    spread = np.sqrt(np.diag(wanted[1]))
    error = max(
        _ratio(got[0] - wanted[0], np.abs(wanted[0]).max()), _ratio(got[1] - wanted[1], np.outer(spread, spread))
    )
    return error if all(np.isfinite(a).all() for a in (*got, *wanted)) else float("nan")


def compose(sde: LinearSDE) -> Worst:
    """kernel(t -> u) after kernel(s -> t) is kernel(s -> u)."""
    source, triples = random.Random(20260101), [(0.0, 1e-4, 0.5), (0.0, 0.3, 1.0)]
    for _ in range(40):
        # half of the times uniform, half of them log-uniform: short and long spans, near the data and far from it
        times = (source.random() if source.random() < 0.5 else 10 ** source.uniform(-6, 0) for _ in range(3))
        s, t, u = sorted(times)
        triples.append((s, t, u))

    def errors() -> Iterator[tuple[float, str]]:
        for fractions in triples:
            s, t, u = (sde.t_max * f for f in fractions)
            (first, early), (second, late) = kernel(sde, s, t), kernel(sde, t, u)
            both = second @ first, second @ early @ second.T + late
            yield _apart(both, kernel(sde, s, u)), f"t = {s:.4g}, {t:.4g}, {u:.4g}"

    return worst(errors())


def from_data(sde: LinearSDE) -> Worst:
    """The kernel 0 -> t carries level(0), floor or spread-out velocity and all, to level(t)."""
    alpha, cov = marginal(sde, 0.0)

    def errors() -> Iterator[tuple[float, str]]:
        for t in (f * sde.t_max for f in (1e-6, 1e-3, *INSIDE, 1.0)):
            mean, spread = kernel(sde, 0.0, t)
            yield _apart((mean @ alpha, mean @ cov @ mean.T + spread), marginal(sde, t)), f"t = {t:.4g}"

    return worst(errors())


def moments(sde: LinearSDE) -> Worst:
    """d alpha/dt = F alpha and d cov/dt = F cov + cov F^T + G G^T: the Fokker-Planck equation of normal laws."""

    def slope(part: int, t: float) -> np.ndarray:
        return derivative(lambda t: marginal(sde, t)[part], t, 0.0, sde.t_max)

    def errors() -> Iterator[tuple[float, str]]:
        for t in (f * sde.t_max for f in INSIDE):
            (alpha, cov), drift, noise = marginal(sde, t), matrix(sde.drift(t)), matrix(sde.noise(t))
            terms = drift @ cov, cov @ drift.T, noise @ noise.T
            scale = max(np.abs(drift).max(), 1.0 / sde.t_max) * np.abs(alpha).max()
            yield _ratio(slope(0, t) - drift @ alpha, scale), f"drift at t = {t:.4g}"
            # the terms may cancel, so the scale is theirs and not that of their sum
            gap = slope(1, t) - (terms[0] + terms[1] + terms[2])
            yield _ratio(gap, max(np.abs(term).max() for term in terms)), f"drift and noise at t = {t:.4g}"

    return worst(errors())


def short(sde: LinearSDE, span: float = SPAN) -> Worst:
    """The covariance over a short span is the integral of E G G^T E^T, in every entry and to relative accuracy."""

    def errors() -> Iterator[tuple[float, str]]:
        for start in (f * sde.t_max for f in INSIDE):
            end = start + span * sde.t_max

            def rate(t: float, end: float = end) -> np.ndarray:
                push = matrix(sde.transition(t, end)[0]) @ matrix(sde.noise(t))
                return push @ push.T

            cov, wanted = kernel(sde, start, end)[1], integral(rate, start, end)
            yield _ratio(cov - wanted, np.abs(wanted)), f"t = {start:.4g} + {span:g} t_max"

    return worst(errors())


def inverse(sde: ScalarSDE, at: Callable[[float], Any] | None = None) -> Worst:
    """at(half_log_snr) is the level of that log-SNR: t as far as the number carries it, alpha and sigma."""

    def errors() -> Iterator[tuple[float, str]]:
        for t in (f * sde.t_max for f in (1e-8, 1e-5, 1e-3, *INSIDE)):
            level, rates = sde.level(t), sde.rates(t)
            found = (at or sde.at)(level.half_log_snr)
            size = 1.0 + abs(level.half_log_snr)
            steep = abs(rates[0] / level.alpha - rates[1] / level.sigma)
            yield abs(found.t - t) / (t + size / steep), f"t = {t:.4g}"
            yield abs(found.alpha / level.alpha - 1.0), f"alpha at t = {t:.4g}"
            yield abs(found.sigma / level.sigma - 1.0), f"sigma at t = {t:.4g}"

    return worst(errors())


def rates(sde: ScalarSDE) -> Worst:
    """rates(t) is (alpha', sigma')."""

    def errors() -> Iterator[tuple[float, str]]:
        for t in (f * sde.t_max for f in INSIDE):
            for name, rate in zip(("alpha", "sigma"), sde.rates(t), strict=True):
                function = getattr(sde, name)
                slope = derivative(function, t, 0.0, sde.t_max)
                yield abs(slope - rate) / max(abs(rate), function(t) / sde.t_max), f"{name}' at t = {t:.4g}"

    return worst(errors())


def prior(sde: LinearSDE) -> Worst:
    """The law that sampling starts from at t_max is near the marginal of N(0, 1) data there, by standard deviations.

    It need not be equal to it: processes start from the noise of the level, or from a law that they approach.
    """
    alpha, cov = marginal(sde, sde.t_max)
    factor = matrix(sde.prior(sde.t_max))
    wanted = np.sqrt(np.diag(np.outer(alpha[:, 0], alpha[:, 0]) + cov))
    got = np.sqrt(np.diag(factor @ factor.T))
    error = float(np.abs(np.log(got / wanted)).max()) if (got > 0.0).all() else float("inf")
    return Worst(error, f"t = {sde.t_max:.4g}")
