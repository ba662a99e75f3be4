"""Optimised tables of noise levels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.grids.base import Grid, half_log_snrs
from torchdiff.registry import GRIDS
from torchdiff.sde.base import LinearSDE

# sigma / alpha of ten steps: Sabour et al. 2024, table 3
TABLES = {
    "sd15": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    "deepfloyd": (160.41, 8.081, 3.315, 1.885, 1.207, 0.785, 0.553, 0.293, 0.186, 0.030, 0.006),
    "svd": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}


@GRIDS.register("ays")
@dataclass(frozen=True)
class AlignYourSteps(Grid):
    """Align Your Steps: noise levels optimised for Stable Diffusion 1.5, XL and Video, and DeepFloyd-IF.

    model: "sd15", "sdxl", "svd" or "deepfloyd": the table of sigma / alpha for 10 steps. Other numbers of steps take
    equal steps along the piecewise line through log(sigma / alpha), as NVIDIA says. The ends of the table are those of
    the network's process, rounded: the ends of the run take their place.
    The tables are for the process that the network was trained on: `ddpm:schedule=scaled_linear` for sd15 and sdxl,
    `edm` with t_max=700 for svd.
    Raises OptionError for another model; IncompatibleError for block SDEs, an end with alpha = 0 or sigma = 0, and ends
    that leave some of the table outside.
    Source: Sabour et al. 2024, arXiv:2404.14507, table 3.
    """

    model: str = "sd15"

    def __post_init__(self) -> None:
        if self.model not in TABLES:
            raise OptionError(f"ays: model is one of {', '.join(TABLES)}, got {self.model!r}")

    def inside(self, sde: LinearSDE, steps: int, t_max: float, t_min: float) -> Iterable[float]:
        sde, start, end = half_log_snrs("ays", sde, t_max, t_min)
        table = TABLES[self.model]
        knots = [start, *(-math.log(ratio) for ratio in table[1:-1]), end]
        if not (start < knots[1] and knots[-2] < end):
            raise IncompatibleError(
                f"ays: the table of {self.model!r} goes through sigma / alpha from {table[1]:g} to {table[-2]:g}, "
                f"{sde!r} has {math.exp(-start):g} at t = {t_max:g} and {math.exp(-end):g} at t = {t_min:g}; give "
                f"wider ends, or the process of the model"
            )
        for i in range(1, steps):
            knot, rest = divmod(i * (len(knots) - 1), steps)
            yield sde.at(knots[knot] + (knots[knot + 1] - knots[knot]) * (rest / steps)).t
