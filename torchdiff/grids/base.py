"""Grid: the times of a run, from the noisy end to the clean one, both ends exactly as asked."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import final

from torchdiff.amounts import count
from torchdiff.errors import IncompatibleError, OptionError, shown
from torchdiff.registry import GRIDS
from torchdiff.sde.base import LinearSDE, ScalarSDE


class Grid(ABC):
    """A rule that places the times between two ends; a frozen dataclass whose fields are its options.

    Derive from `Spaced` where the fraction of the way says it all, from this where the number of steps matters too.
    """

    @final
    def times(
        self, sde: LinearSDE, steps: int, t_max: float | None = None, t_min: float | None = None
    ) -> tuple[float, ...]:
        """steps + 1 times, strictly falling from t_max to t_min; given ends come back bit for bit.

        t_max, t_min: by default the grid's own `ends`, which for most grids are the SDE's.
        Raises OptionError for ends that do not fall or lie outside the SDE's times, for a number of steps that is none
        and where two times would be one; IncompatibleError where the SDE has not the coordinate of the grid.
        """
        steps = count("steps of a grid", steps)
        high, low = (
            sde.check_time(own if t is None else t)
            for t, own in zip((t_max, t_min), self.ends(sde, steps), strict=True)
        )
        if not low < high:
            raise OptionError(f"sampling runs from t_max down to t_min, got t_max = {high:g}, t_min = {low:g}")
        times = (high, *self.inside(sde, steps, high, low), low)
        for i, (a, b) in enumerate(pairwise(times)):
            if not b < a:
                raise OptionError(
                    f"grid {shown(GRIDS.label(self))} does not fall over {steps} steps on {sde!r}: "
                    f"times[{i}] = {a!r}, times[{i + 1}] = {b!r}; take fewer steps, other options or another grid"
                )
        return times

    def ends(self, sde: LinearSDE, steps: int) -> tuple[float, float]:
        """t_max and t_min of a run whose user gives none."""
        return sde.t_max, sde.t_min

    @abstractmethod
    def inside(self, sde: LinearSDE, steps: int, t_max: float, t_min: float) -> Iterable[float]:
        """The steps - 1 times between the ends, falling."""


class Spaced(Grid):
    """Fractions of the way from t_max to t_min, in some coordinate."""

    def inside(self, sde: LinearSDE, steps: int, t_max: float, t_min: float) -> Iterable[float]:
        at = self.between(sde, t_max, t_min)
        return (at(i / steps) for i in range(1, steps))

    @abstractmethod
    def between(self, sde: LinearSDE, t_max: float, t_min: float) -> Callable[[float], float]:
        """fraction in (0, 1) -> t. Raises IncompatibleError where the coordinate is not finite at an end."""


def scalar(name: str, sde: LinearSDE) -> ScalarSDE:
    """The SDE, if it has one block. Raises IncompatibleError with the way out."""
    if not isinstance(sde, ScalarSDE):
        raise IncompatibleError(
            f"grid {name!r} needs a log-SNR, not {sde.blocks} blocks of {sde!r}; use uniform or quadratic"
        )
    return sde


def half_log_snrs(name: str, sde: LinearSDE, t_max: float, t_min: float) -> tuple[ScalarSDE, float, float]:
    """The SDE and log(alpha / sigma) at both ends. Raises IncompatibleError for blocks and where one is infinite."""
    sde = scalar(name, sde)
    start, end = sde.level(t_max).half_log_snr, sde.level(t_min).half_log_snr
    for t, value in ((t_max, start), (t_min, end)):
        if not math.isfinite(value):
            raise IncompatibleError(
                f"grid {name!r} needs a finite log-SNR at both ends, that of {sde!r} at t = {t:g} is {value}; "
                f"give t_max or t_min inside (t_max=0.999, t_min=0.001, say) or use grid 'uniform'"
            )
    return sde, start, end


def check_positive(name: str, **options: float) -> None:
    """Raises OptionError for an option that is not a positive finite number."""
    for option, value in options.items():
        if not 0.0 < value < math.inf:
            raise OptionError(f"{name}: {option} must be positive, got {value!r}")
