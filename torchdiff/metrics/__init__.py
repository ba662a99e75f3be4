"""Distances between samples and data, each with its interval and with what perfect samples score: its floor."""

from torchdiff.metrics.base import Judge, Metric
from torchdiff.metrics.transport import SlicedW2

__all__ = ["Judge", "Metric", "SlicedW2"]


def __getattr__(name: str):
    # torch comes with the first measurement, not with `torchdiff list`
    if name in ("Gauge", "Measured", "Compared", "measure", "compare"):
        from torchdiff.metrics import gauge

        return getattr(gauge, name)
    raise AttributeError(f"module 'torchdiff.metrics' has no attribute {name!r}")
