"""Whole indices of a table of N training times, t_i = T (i + 1) / N: the timestep_spacing of diffusers.

T is 1 on `ddpm`, whose table that is, and t_max on every other SDE; for any number of blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from torchdiff.errors import OptionError
from torchdiff.grids.base import Grid
from torchdiff.registry import GRIDS
from torchdiff.sde.base import LinearSDE
from torchdiff.sde.discrete import DiscreteVP


@GRIDS.register("linspace")
@dataclass(frozen=True)
class Linspace(Grid):
    """Training indices in equal steps from the last to the first, rounded (timestep_spacing="linspace").

        i_k = round((N - 1) k / steps),   k = steps ... 0

    count: N, by default that of `ddpm` and 1000 elsewhere. Ends that are given take the place of the last and the
    first index. n timesteps of diffusers' DDPM, DDIM and Euler schedulers are steps = n - 1 and the step to the data
    that follows by default; its DPM, DEIS and UniPC schedulers divide by n instead of n - 1.
    Raises OptionError for more steps than there are indices.
    Source: Lin et al. 2023, arXiv:2305.08891, table 2; diffusers, timestep_spacing="linspace".
    """

    count: int | None = None

    def __post_init__(self) -> None:
        _check_count("linspace", self.count)

    def ends(self, sde: LinearSDE, steps: int) -> tuple[float, float]:
        return sde.t_max, _table(sde, self.count).time(0)

    def inside(self, sde: LinearSDE, steps: int, t_max: float, t_min: float) -> Iterable[float]:
        table = _table(sde, self.count)
        first, last = table.reach("linspace", steps, t_max, t_min)
        # the stride is rounded before it is multiplied, as by numpy.linspace: of 26 steps, 13 give 499.49999999999994
        stride = (last - first) / steps
        return [table.time(round(first + k * stride)) for k in range(steps - 1, 0, -1)]


@GRIDS.register("trailing")
@dataclass(frozen=True)
class Trailing(Grid):
    """Training indices at every N / steps-th place down from the last, rounded; ends at the data, t = 0.

        i_k = round(N - k N / steps) - 1,   k = 0 ... steps - 1;   then t = 0

    count: N, by default that of `ddpm` and 1000 elsewhere. Ends that are given take the place of the first time and
    of t = 0. n timesteps of diffusers are steps = n: the last step is the one to the data. A process with noise at
    t = 0 (`ve`) has a denoising step after that.
    Raises OptionError for more steps than there are indices.
    Source: Lin et al. 2023, arXiv:2305.08891, table 2; diffusers, timestep_spacing="trailing".
    """

    count: int | None = None

    def __post_init__(self) -> None:
        _check_count("trailing", self.count)

    def ends(self, sde: LinearSDE, steps: int) -> tuple[float, float]:
        return sde.t_max, 0.0

    def inside(self, sde: LinearSDE, steps: int, t_max: float, t_min: float) -> Iterable[float]:
        table = _table(sde, self.count)
        first, last = table.reach("trailing", steps, t_max, t_min)
        # one division of whole numbers: a half is a half, and rounds to even
        places = (((first + 1.0) * steps + k * (last - first)) / steps for k in range(steps - 1, 0, -1))
        return [table.time(round(place) - 1) for place in places]


@GRIDS.register("leading")
@dataclass(frozen=True)
class Leading(Grid):
    """Training indices at every N // (steps + 1)-th place up from the first; starts below the last.

        i_k = k (N // (steps + 1)) + offset,   k = steps ... 0

    count:  N, by default that of `ddpm` and 1000 elsewhere. offset: the first index (steps_offset; Stable Diffusion
            has 1). Ends that are given take the place of the last and the first index, and the stride between is the
            whole part of their distance over steps.
    n timesteps of diffusers are steps = n - 1 and the step to the data that follows by default. The noise that a run
    starts from is that of the first time, which is not the end of the process.
    Raises OptionError for more steps than there are indices and an offset that pushes the last one beyond N - 1.
    Source: Lin et al. 2023, arXiv:2305.08891, table 2; diffusers, timestep_spacing="leading".
    """

    offset: int = 0
    count: int | None = None

    def __post_init__(self) -> None:
        _check_count("leading", self.count)
        if self.offset < 0:
            raise OptionError(f"leading: offset is an index, 0 or more, got {self.offset!r}")

    def ends(self, sde: LinearSDE, steps: int) -> tuple[float, float]:
        table = _table(sde, self.count)
        stride = table.count // (steps + 1)
        last = steps * stride + self.offset
        if stride < 1 or last >= table.count:
            raise OptionError(
                f"leading: {steps + 1} indices, {stride} apart from {self.offset} on, do not fit into a table of "
                f"{table.count}; take fewer steps, a lower offset, or grid 'trailing'"
            )
        return min(table.time(last), sde.t_max), table.time(self.offset)

    def inside(self, sde: LinearSDE, steps: int, t_max: float, t_min: float) -> Iterable[float]:
        table = _table(sde, self.count)
        first, last = table.reach("leading", steps, t_max, t_min)
        stride = int((last - first) / steps)
        return [table.time(round(first) + k * stride) for k in range(steps - 1, 0, -1)]


class Table(NamedTuple):
    """N training times, the last of them `length`."""

    count: int
    length: float

    def time(self, index: int) -> float:
        return self.length * ((index + 1.0) / self.count)

    def index(self, t: float) -> float:
        """The inverse of `time`, whole where t is one of the times."""
        place = t / self.length * self.count - 1.0
        return float(round(place)) if abs(place - round(place)) < 1e-9 else place

    def reach(self, name: str, steps: int, t_max: float, t_min: float) -> tuple[float, float]:
        """The indices of t_min and t_max. Raises OptionError where there is less than one for each step."""
        first, last = self.index(t_min), self.index(t_max)
        if last - first < steps:
            raise OptionError(
                f"{name}: t = {t_max:g} and {t_min:g} are {last - first:g} of {self.count} indices apart, too few for "
                f"{steps} steps; take fewer, a larger count, or grid 'uniform', which needs no indices"
            )
        return first, last


def _table(sde: LinearSDE, count: int | None) -> Table:
    if isinstance(sde, DiscreteVP):
        return Table(count or sde.count, 1.0)
    return Table(count or 1000, sde.t_max)


def _check_count(name: str, count: int | None) -> None:
    if count is not None and count < 1:
        raise OptionError(f"{name}: count is a number of training times, got {count!r}")
