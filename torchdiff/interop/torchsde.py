"""Our Brownian paths for torchsde."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchdiff import noise
from torchdiff.areas import levy_area, pairs
from torchdiff.counters import FORWARD_PATH, TICKS, area_number
from torchdiff.errors import OptionError
from torchdiff.ticks import ticks_of

SLACK = 1e-6  # of the horizon: times in float32 miss the ends of a path by 6e-8


class BrownianPath:
    """The Brownian path of a seed on [t0, t1] as torchsde wants it: `torchsde.sdeint(sde, y0, ts, bm=path)`.

    shape: (B, m), m the number of Wiener processes of a sample. seed, first_index, path, dtype, device: as in
    torchdiff.noise.brownian; by default the path that torchdiff.simulate takes for a seed with clock = (t0, t1).
    bm(ta, tb) is W(tb) - W(ta), (B, m); with return_U also U, the integral of W - W(ta) over [ta, tb]; with return_A
    also A, (B, m, m), the Levy areas of torchdiff.areas.levy_area, whose normals belong to the interval; bm(t) is
    W(t) - W(t0). A value depends on seed, sample and times alone, not on the order of the calls, and nothing is kept.
    Times are rounded to 2^-24 of t1 - t0.
    Raises OptionError for times outside of [t0, t1] and for tb before ta.
    """

    def __init__(
        self,
        shape: Sequence[int],
        t0: float,
        t1: float,
        *,
        seed: int | Sequence[int] | Tensor,
        first_index: int = 0,
        path: int = FORWARD_PATH,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.t0, self.t1 = float(t0), float(t1)
        if len(shape) != 2 or not self.t0 < self.t1:
            raise OptionError(f"a path has shape (B, m) and t0 < t1, got {tuple(shape)}, t0 = {t0!r}, t1 = {t1!r}")
        self.shape = torch.Size(shape)
        self.dtype = torch.get_default_dtype() if dtype is None else dtype
        self.device = torch.get_default_device() if device is None else torch.device(device)
        self.levy_area_approximation = "foster"  # of the three that torchsde knows the one that has W, U and A
        self.seed, self.first_index, self.path = seed, first_index, path

    def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
        start, end = (self.t0, float(ta)) if tb is None else (float(ta), float(tb))
        if start > end:
            raise OptionError(f"an increment goes from ta to a later tb, got ta = {start!r}, tb = {end!r}")
        ends = [self._clock(start), self._clock(end)]
        made: Any = noise.brownian(
            self.shape,
            ends,
            seed=self.seed,
            horizon=self.t1 - self.t0,
            first_index=self.first_index,
            path=self.path,
            integral=return_U or return_A,
            dtype=self.dtype,
            device=self.device,
        )
        if not return_U and not return_A:
            return made[0]
        w, u = made[0][0], made[1][0]
        return (w, *([u] if return_U else []), *([self._area(ends, w, u)] if return_A else []))

    def _area(self, ends: list[float], w: Tensor, u: Tensor) -> Tensor:
        """The areas over an interval, of the clock from 0."""
        batch, m = self.shape
        start, end = ticks_of(ends, self.t1 - self.t0)
        if start == end:
            return w.new_zeros((batch, m, m))
        z = noise.normal(
            (batch, pairs(m)),
            seed=self.seed,
            first_index=self.first_index,
            draw=area_number(self.path, start, end),
            dtype=self.dtype,
            device=self.device,
        )
        return levy_area(w, u, (end - start) * ((self.t1 - self.t0) / TICKS), z)

    def size(self) -> torch.Size:
        return self.shape

    def __repr__(self) -> str:
        return f"BrownianPath({tuple(self.shape)}, t0={self.t0:g}, t1={self.t1:g}, seed={self.seed!r})"

    def _clock(self, t: float) -> float:
        horizon = self.t1 - self.t0
        r = t - self.t0
        if not -SLACK * horizon <= r <= (1.0 + SLACK) * horizon:
            raise OptionError(f"the path lives on [{self.t0:g}, {self.t1:g}], asked at t = {t!r}; make it longer")
        return min(max(r, 0.0), horizon)
