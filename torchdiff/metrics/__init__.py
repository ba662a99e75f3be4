"""Distances between samples and data, each with its interval and with what perfect samples score: its floor."""

from torchdiff.metrics.base import Judge, Metric
from torchdiff.metrics.classes import C2ST, Modes
from torchdiff.metrics.features import Frechet
from torchdiff.metrics.marginals import KS
from torchdiff.metrics.pairs import MMD, Energy
from torchdiff.metrics.transport import W2, SlicedW2

__all__ = ["C2ST", "KS", "MMD", "W2", "Energy", "Frechet", "Judge", "Metric", "Modes", "SlicedW2"]


def __getattr__(name: str):
    # torch comes with the first measurement, not with `torchdiff list`
    if name in ("Gauge", "Measured", "Compared", "measure", "compare"):
        from torchdiff.metrics import gauge

        return getattr(gauge, name)
    raise AttributeError(f"module 'torchdiff.metrics' has no attribute {name!r}")
