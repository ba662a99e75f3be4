"""Grids: the times of a run. One file a family; importing this package registers the built-in ones."""

from torchdiff.grids.ays import AlignYourSteps
from torchdiff.grids.base import Grid, Spaced
from torchdiff.grids.clock import Quadratic, Uniform
from torchdiff.grids.default import default_grid
from torchdiff.grids.flow import LinearQuadratic, ResolutionShift, Shift
from torchdiff.grids.indices import Leading, Linspace, Trailing
from torchdiff.grids.optimal import Optimal
from torchdiff.grids.quantiles import Beta, BetaSigma, Laplace
from torchdiff.grids.ratio import Exponential, Karras, LogSNR, Polyexponential
from torchdiff.grids.sigmas import times_of

__all__ = [
    "AlignYourSteps", "Beta", "BetaSigma", "Exponential", "Grid", "Karras", "Laplace", "Leading", "LinearQuadratic",
    "Linspace", "LogSNR", "Optimal", "Polyexponential", "Quadratic", "ResolutionShift", "Shift", "Spaced", "Trailing",
    "Uniform", "default_grid", "times_of",
]  # fmt: skip
