"""torchdiff: turns a trained score, diffusion or flow network into samples.

    images = torchdiff.sample(net, "vp", calls=20, shape=(16, 1, 28, 28), prediction="v", seed=0).x

Importing it loads neither torch nor any plugin; both come with the first thing that needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from torchdiff.registry import GRIDS, METRICS, SDES, SOLVERS, TARGETS

if TYPE_CHECKING:
    from torchdiff import bench, gaussian, metrics, noise, spectra, targets, testing, tune
    from torchdiff.analysis import Analysis, analyze
    from torchdiff.conventions import Convention, list_conventions, register_convention
    from torchdiff.denoiser import Denoiser
    from torchdiff.general import SDE
    from torchdiff.guidance import autoguide, classifier_guide, clip, guide, threshold
    from torchdiff.latent import Latent
    from torchdiff.mcmc import Chains, annealed_langevin, langevin
    from torchdiff.planner import plan
    from torchdiff.plans import Plan
    from torchdiff.reversal import reverse
    from torchdiff.sampler import Sampler
    from torchdiff.sampling import Samples, sample
    from torchdiff.sde import (
        CLD,
        EDM,
        VE,
        VP,
        BetaSDE,
        Cosine,
        DiscreteVP,
        DriftSDE,
        Flow,
        Level,
        LinearSDE,
        MarginalSDE,
        MatrixSDE,
        ScalarSDE,
        SubVP,
    )  # fmt: skip
    from torchdiff.simulation import Paths, simulate
    from torchdiff.solvers import AffineSolver, Carry, Chain, Solver, Span
    from torchdiff.wrapping import wrap

__version__ = "0.1.0"

register_sde, get_sde, list_sdes = SDES.register, SDES.get, SDES.names
register_solver, get_solver, list_solvers = SOLVERS.register, SOLVERS.get, SOLVERS.names
register_grid, get_grid, list_grids = GRIDS.register, GRIDS.get, GRIDS.names
register_target, get_target, list_targets = TARGETS.register, TARGETS.get, TARGETS.names
register_metric, get_metric, list_metrics = METRICS.register, METRICS.get, METRICS.names

# public name -> the module that has it; imported on first use, so that `torchdiff list` does not wait for torch
_LAZY = {
    "torchdiff.sampling": ("sample", "Samples"),
    "torchdiff.sampler": ("Sampler",),
    "torchdiff.planner": ("plan",),
    "torchdiff.analysis": ("analyze", "Analysis"),
    "torchdiff.plans": ("Plan",),
    "torchdiff.sde": (
        *("CLD", "EDM", "VE", "VP", "BetaSDE", "Cosine", "DiscreteVP", "DriftSDE", "Flow", "Level", "LinearSDE"),
        *("MarginalSDE", "MatrixSDE", "ScalarSDE", "SubVP"),
    ),
    "torchdiff.general": ("SDE",),
    "torchdiff.simulation": ("simulate", "Paths"),
    "torchdiff.reversal": ("reverse",),
    "torchdiff.wrapping": ("wrap",),
    "torchdiff.denoiser": ("Denoiser",),
    "torchdiff.latent": ("Latent",),
    "torchdiff.guidance": ("guide", "autoguide", "classifier_guide", "clip", "threshold"),
    "torchdiff.mcmc": ("langevin", "annealed_langevin", "Chains"),
    "torchdiff.conventions": ("Convention", "list_conventions", "register_convention"),
    "torchdiff.solvers": ("AffineSolver", "Carry", "Chain", "Solver", "Span"),
}
_HOME = {name: module for module, names in _LAZY.items() for name in names}
_MODULES = ("bench", "gaussian", "metrics", "noise", "ops", "spectra", "targets", "testing", "tune", "zoo")


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"torchdiff.{name}")
    raise AttributeError(f"module 'torchdiff' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})


__all__ = [  # noqa: RUF022  # by what they are for
    "sample", "Samples", "Sampler", "plan", "Plan", "wrap", "Denoiser", "Convention", "Latent", "noise", "gaussian",
    "testing", "targets", "metrics", "analyze", "Analysis", "spectra", "tune", "bench",
    "guide", "autoguide", "classifier_guide", "clip", "threshold",
    "simulate", "Paths", "SDE", "reverse", "langevin", "annealed_langevin", "Chains",
    "register_sde", "register_solver", "register_grid", "get_sde", "get_solver", "get_grid",
    "list_sdes", "list_solvers", "list_grids", "register_convention", "list_conventions",
    "register_target", "get_target", "list_targets", "register_metric", "get_metric", "list_metrics",
    "Level", "LinearSDE", "ScalarSDE", "VP", "SubVP", "Cosine", "DiscreteVP", "VE", "EDM", "Flow", "CLD",
    "BetaSDE", "DriftSDE", "MarginalSDE", "MatrixSDE",
    "Solver", "AffineSolver", "Chain", "Carry", "Span",
]  # fmt: skip
