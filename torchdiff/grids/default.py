"""The grid of a run that names none."""

from __future__ import annotations

import math

from torchdiff.grids.base import Grid
from torchdiff.grids.clock import Uniform
from torchdiff.grids.ratio import LogSNR
from torchdiff.sde.base import LinearSDE, ScalarSDE


def default_grid(sde: LinearSDE, t_max: float, t_min: float) -> Grid:
    """log_snr where log(alpha / sigma) is finite at both ends, uniform for block SDEs and where it is not."""
    if isinstance(sde, ScalarSDE) and all(math.isfinite(sde.level(t).half_log_snr) for t in (t_max, t_min)):
        return LogSNR()
    return Uniform()
