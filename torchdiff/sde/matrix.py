"""A linear process of any number of blocks, given by its matrices alone."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torchdiff.blocks import Mat
from torchdiff.errors import OptionError, shown
from torchdiff.sde.base import Level, LinearSDE, stays
from torchdiff.sde.moments import Kernel, Table, kernel
from torchdiff.sde.numeric import number

Rows = Callable[[float], Sequence[Sequence[float]]]


@dataclass(frozen=True)
class MatrixSDE(LinearSDE):
    """dx = F(t) x dt + G(t) dw in n x n blocks, for any F and G.

        mean' = F mean,   cov' = F cov + cov F^T + G G^T

    drift_of, noise_of: functions of a float in [0, t_max] that return n rows of n numbers, smooth in t. The data is the
    first block; the others start from N(0, start), start: n - 1 variances (0, from rest, by default) that the level
    integrates out. A network for it predicts "score" or "eps" of the last block, so noise must drive that block only,
    where one is used. Sampling starts from the stationary law where F and G have one, the same at all times; else from
    the law of the noise at that time. Levels are read from a table that is solved once; a transition is solved by
    itself (SciPy, relative tolerance 1e-13).
    Raises OptionError for rows of another number or length, and values that are not finite.
    Source: Saerkkae & Solin 2019, Applied Stochastic Differential Equations, eqs. 6.2 and 6.20.
    """

    drift_of: Rows
    noise_of: Rows
    blocks: int = 2
    start: tuple[float, ...] | None = None
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        self.check_range()
        if not isinstance(self.blocks, int) or self.blocks < 1:
            raise OptionError(f"blocks is the number of blocks of the state, 1 or more, got {self.blocks!r}")
        variances = (0.0,) * (self.blocks - 1) if self.start is None else tuple(map(float, self.start))
        if len(variances) != self.blocks - 1 or not all(0.0 <= v < math.inf for v in variances):
            raise OptionError(
                f"start holds the variances of the {self.blocks - 1} blocks beside the data, got {self.start!r}"
            )
        object.__setattr__(self, "start", variances)

    def _rows(self, rows: Any, what: str, t: float) -> Mat:
        try:
            found = [list(row) for row in rows]
        except TypeError:
            found = []
        if [len(row) for row in found] != [self.blocks] * self.blocks:
            raise OptionError(
                f"{what} must be {self.blocks} rows of {self.blocks} numbers, at t = {t:g} it is {shown(rows)}"
            )
        return Mat([[number(value, what, t) for value in row] for row in found])

    def drift(self, t: float) -> Mat:
        return self._rows(self.drift_of(self.check_time(t)), "F(t)", t)

    def noise(self, t: float) -> Mat:
        return self._rows(self.noise_of(self.check_time(t)), "G(t)", t)

    def _matrices(self, t: float) -> tuple[Any, Any]:
        """F and G G^T as arrays."""
        import numpy as np

        drift, noise = np.array(self.drift(t)), np.array(self.noise(t))
        return drift, noise @ noise.T

    def _spread(self, mean: Mat, factor: Mat) -> Mat:
        """The factor with the initial law of the other blocks added, by rotations: squares lose half the digits."""
        import numpy as np

        assert self.start is not None
        first = Mat.diag(0.0, *map(math.sqrt, self.start))
        upper: Any = np.linalg.qr(np.hstack([np.array(factor), np.array(mean @ first)]).T, mode="r")
        return Mat((upper * np.copysign(1.0, np.diag(upper))[:, None]).T.tolist())

    @property
    def _none(self) -> tuple[Mat, Mat]:
        """The kernel of no time at all."""
        return Mat.diag(*[1.0] * self.blocks), Mat([[0.0] * self.blocks] * self.blocks)

    @functools.cached_property
    def _table(self) -> Table:
        return Table(self._matrices, self.t_max)

    def level(self, t: float) -> Level:
        t = self.check_time(t)
        mean, factor = _factored(self._table.at(t)) if t > 0.0 else self._none
        return Level(t, mean, self._spread(mean, factor))

    def transition(self, start: float, end: float) -> tuple[Mat, Mat]:
        self.check_span(start, end)
        return _factored(kernel(self._matrices, start, end)) if start < end else self._none

    @functools.cached_property
    def _stationary(self) -> Mat | None:
        """Cholesky factor of the covariance that F and G leave as it is at all times, if there is one."""
        import numpy as np
        from scipy.linalg import solve_continuous_lyapunov

        middle = 0.5 * self.t_max
        drift, noise = np.array(self.drift(middle)), np.array(self.noise(middle))
        if not np.all(np.linalg.eigvals(drift).real < 0.0):
            return None
        cov = solve_continuous_lyapunov(drift, -noise @ noise.T)
        law = Mat((0.5 * (cov + cov.T)).tolist())
        return law.cholesky() if all(stays(self, law, self.t_max * i / 8) for i in range(9)) else None

    def prior(self, t: float) -> Mat:
        level = self.level(t)
        return level.sigma if self._stationary is None else self._stationary


def _factored(found: Kernel) -> tuple[Mat, Mat]:
    return Mat(found.mean.tolist()), Mat(found.cov.tolist()).cholesky()
