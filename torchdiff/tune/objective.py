"""What an optimal grid makes small: residuals of a plan on Gaussian data, whose sum of squares is the objective."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from torchdiff import gaussian
from torchdiff.errors import OptionError
from torchdiff.gaussian.laws import Array, Gaussian, at_level
from torchdiff.plans import Plan
from torchdiff.spectra import Spectrum

NODES = 24  # eigenvalues that stand for a spectrum: equal steps in their logarithm, a factor of 1.5 over 4 decades
SHALLOW = 1e-4  # of the greatest: smaller ones, often rounding, are one node
FAMILY = 12
FLAT = 1e-6  # of the exact standard deviation: a law flatter than that counts as so flat, whose logarithm is finite
DEPTH, LEAST_DEPTH = 1e-3, 1e-2  # the family's least eigenvalue over its greatest: of the spectrum, within these


class Nodes(NamedTuple):
    """Eigenvalues (K,), the data's mean along them, and how many of the spectrum each stands for."""

    variance: Array
    mean: Array
    weight: Array


class Objective:
    """residuals(plan), an array whose sum of squares is to be small, in units of the data's size. For one process.

    "end": the errors of `gaussian.errors`; the root of the sum of squares is W2 over the root of the trace.
    "own": with d_i the change over step i of g(s / s'), s the standard deviation and s' the exact one there (of n
    blocks: g of the root of the covariance in coordinates in which the exact one is 1), and of the mean's error over
    s', all in units of the data: every d_i, the last one against the law that an exact run would end with. The exact
    flow carries s / s' to the end as it is, so that the d_i add up to the error without the parts of the prior and of
    the end; by Cauchy and Schwarz the root of the sum of their squares, times that of the number of intervals, is no
    less than their sum. Two steps that cancel do not count as none. g is 0 at 1 with slope 1, see `deviating`.
    "steps": the mean of "own" on the spectrum and on a family: eigenvalues in equal steps of their logarithm over the
    spectrum's range, which bounds the conditional variances of a mixture too, weighed by their roots.
    """

    def __init__(self, kind: str, spectrum: Spectrum) -> None:
        if not spectrum.variance.max() > 0.0:
            raise OptionError("grids are measured on data that varies, got eigenvalues that are all 0")
        self.kind = kind
        self.nodes = condensed(spectrum)
        if kind != "end":  # what does not vary has no weight there, and no coordinates in which it were 1
            self.nodes = Nodes(*(part[self.nodes.variance > 0.0] for part in self.nodes))
        if kind == "steps":
            self.nodes = joined(self.nodes, family(spectrum))
        trace = self.nodes.weight * (self.nodes.variance + (self.nodes.mean**2 if kind == "end" else 0.0))
        self.unit = np.sqrt(self.nodes.weight / float(trace.sum()))
        self._ends: dict[tuple[float, ...], Gaussian] = {}

    def residuals(self, plan: Plan) -> Array:
        """plan: traced to be watched, but for "end"."""
        variance, mean, _ = self.nodes
        if self.kind == "end":
            found = gaussian.errors(plan, variance, mean)
            return np.concatenate([self.unit * found.deviation, self.unit * found.mean])
        start = gaussian.beginning(plan, variance, mean)
        laws = [start, *gaussian.path(plan, variance, mean, start)]
        ideal = [*(at_level(level, variance, mean) for level in plan.grid[:-1]), self._end(plan)]
        away = np.stack([_away(law, exact) for law, exact in zip(laws, ideal, strict=True)])
        return (np.diff(away, axis=0) * (self.unit * np.sqrt(variance))[:, None]).ravel()

    def value(self, plan: Plan) -> float:
        """The root of the sum of squares."""
        return float(np.linalg.norm(self.residuals(plan)))

    def _end(self, plan: Plan) -> Gaussian:
        """`gaussian.end`, which depends on the last levels only: on those of a search it is asked for once."""
        key = tuple(level.t for level in plan.grid[-2:]) if plan.final else (plan.grid[-1].t,)
        if key not in self._ends:
            self._ends[key] = gaussian.end(plan, self.nodes.variance, self.nodes.mean)
        return self._ends[key]


def deviating(ratio: Array) -> Array:
    """g(s / s') = log(s / s') below 1, s / s' - 1 above: neither a law that collapses nor one that blows up is cheap.

    On few steps s / s' - 1 alone lets the first, log alone the second happen: both made worse grids on mixtures and on
    the digits network.
    """
    return np.where(ratio < 1.0, np.log(np.maximum(ratio, FLAT)), ratio - 1.0)


def _away(law: Gaussian, exact: Gaussian) -> Array:
    """(g of the root of the covariance, the mean's error) where the exact law is N(0, 1), (K, components)."""
    if law.mean.shape[1] == 1:
        scale = exact.deviation
        return np.stack([deviating(law.deviation / scale), (law.mean - exact.mean)[:, 0] / scale], axis=1)
    inverse = np.linalg.inv(np.linalg.cholesky(exact.cov))
    values, vectors = np.linalg.eigh(inverse @ law.cov @ inverse.transpose(0, 2, 1))
    spread = deviating(np.sqrt(np.maximum(values, 0.0)))
    away = (vectors * spread[:, None, :]) @ vectors.transpose(0, 2, 1)
    upper = np.triu_indices(away.shape[1])
    twice = np.where(upper[0] == upper[1], 1.0, np.sqrt(2.0))  # the norm of the matrix, from half of it
    shift = np.einsum("kij,kj->ki", inverse, law.mean - exact.mean)
    return np.concatenate([away[:, upper[0], upper[1]] * twice, shift], axis=1)


def condensed(spectrum: Spectrum, nodes: int = NODES) -> Nodes:
    """At most so many eigenvalues that stand for all: means of those in equal steps of their logarithm.

    Errors are smooth in the eigenvalue. The mean of a node is the root mean square: its error is linear in it.
    """
    variance, mean = spectrum
    counts = variance > variance.max() * SHALLOW
    places = np.full(variance.shape, -1)
    if counts.any():
        logs = np.log(variance[counts])
        width = max(logs.max() - logs.min(), 1e-9)
        places[counts] = np.minimum((logs - logs.min()) / width * nodes, nodes - 1).astype(int)
    groups = [places == place for place in np.unique(places)]
    return Nodes(
        np.array([variance[group].mean() for group in groups]),
        np.array([np.sqrt((mean[group] ** 2).mean()) for group in groups]),
        np.array([float(group.sum()) for group in groups]),
    )


def family(spectrum: Spectrum) -> Nodes:
    """Eigenvalues over the spectrum's range in equal steps of their logarithm, each with the root of it as its part."""
    greatest = float(spectrum.variance.max())
    least = float(spectrum.variance[spectrum.variance > 0.0].min()) / greatest
    depth = min(max(least, DEPTH), LEAST_DEPTH)
    variance = greatest * depth ** np.linspace(0.0, 1.0, FAMILY)
    return Nodes(variance, np.zeros(FAMILY), variance**-0.5)


def joined(one: Nodes, other: Nodes) -> Nodes:
    """Both, each with half of the whole variance."""
    halves = [part.weight / float(part.weight @ part.variance) for part in (one, other)]
    return Nodes(
        np.concatenate([one.variance, other.variance]), np.concatenate([one.mean, other.mean]), np.concatenate(halves)
    )
