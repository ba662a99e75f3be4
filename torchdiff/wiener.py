"""The Wiener processes of a simulation: their increments over the steps of a grid, by counters."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from torchdiff import ops
from torchdiff.areas import levy_area, pairs
from torchdiff.counters import FORWARD, FORWARD_PATH, STEP, TICKS, area_number, draw_number
from torchdiff.errors import OptionError
from torchdiff.ticks import ticks_of

AHEAD = 2**22  # elements of the increments that are made ahead: consecutive intervals share half the work


class Wiener(ABC):
    """`blocks` independent processes for each sample on the grid of a run, rising or falling.

    shape: (B, ...) of an increment; dtype and device: of the state. A run forward and one backward have independent
    processes for one seed: what noised a sample does not drive its reversal.
    """

    def __init__(
        self, grid: Sequence[float], shape: Sequence[int], like: Tensor, seeds: Tensor, first_index: int, blocks: int
    ) -> None:
        self.grid, self.shape, self.dtype, self.device = list(grid), tuple(shape), like.dtype, like.device
        self.seeds, self.first_index, self.blocks = seeds.to(like.device), first_index, blocks
        self.forward = self.grid[0] < self.grid[-1]

    @abstractmethod
    def length(self, step: int) -> float:
        """E dW^2 over this step of the grid."""

    @abstractmethod
    def increment(self, step: int, block: int) -> Tensor:
        """dW = W(end) - W(start) over this step."""

    @abstractmethod
    def joint(self, step: int, block: int) -> tuple[Tensor, Tensor]:
        """dW and U, the integral of W(r) - W(start) over the step's length, whichever way it goes."""

    def area(self, step: int) -> tuple[Tensor, Tensor]:
        """dW (B, m) of the first block, and the Levy areas (B, m, m) between its m processes."""
        w, u = self.joint(step, 0)
        z = self._normals((self.shape[0], pairs(self.shape[1])), self._area_draw(step))
        return w, levy_area(w, u, self.length(step), z)

    @abstractmethod
    def _area_draw(self, step: int) -> int:
        """The draw of the normals that the areas of this step need beside the path."""

    def _normals(self, shape: Sequence[int], number: int) -> Tensor:
        draw = torch.tensor([number], dtype=torch.int64, device=self.device)
        return ops.normal(shape, self.seeds, self.first_index, draw, self.dtype)


class White(Wiener):
    """Each step has normals of its own: another number of steps is another path."""

    def length(self, step: int) -> float:
        return abs(self.grid[step + 1] - self.grid[step])

    def increment(self, step: int, block: int) -> Tensor:
        return self._normals(self.shape, self._draw(step, block, 0)) * math.sqrt(self.length(step))

    def joint(self, step: int, block: int) -> tuple[Tensor, Tensor]:
        h, dw = self.length(step), self.increment(step, block)
        return dw, h * (0.5 * dw + math.sqrt(h / 12.0) * self._normals(self.shape, self._draw(step, block, 1)))

    def _draw(self, step: int, block: int, call: int) -> int:
        return draw_number(FORWARD if self.forward else STEP, step, call=call, block=block)

    def _area_draw(self, step: int) -> int:
        return self._draw(step, 0, 2)


class Brownian(Wiener):
    """Increments of the path that a seed is, on the clock [low, high], whatever the steps; see torchdiff.noise."""

    def __init__(
        self,
        grid: Sequence[float],
        shape: Sequence[int],
        like: Tensor,
        seeds: Tensor,
        first_index: int,
        blocks: int,
        clock: tuple[float, float],
    ) -> None:
        super().__init__(grid, shape, like, seeds, first_index, blocks)
        low, high = clock
        self.times, self.horizon = [min(max(t - low, 0.0), high - low) for t in self.grid], high - low
        if not low <= min(self.grid) <= max(self.grid) <= high:
            raise OptionError(f"the Brownian path lives on [{low:g}, {high:g}], the times go beyond it; widen `clock`")
        self.ticks = ticks_of(self.times, self.horizon)
        for k, (a, b) in enumerate(pairwise(self.ticks)):
            if a == b:
                raise OptionError(
                    f"the step from t = {self.grid[k]!r} to t = {self.grid[k + 1]!r} is shorter than the ticks of a "
                    f"Brownian path on [{low:g}, {high:g}], {self.horizon / TICKS:.3g}; take fewer steps, a shorter "
                    f"clock, or noise='white'"
                )
        self.ready: dict[int, tuple[int, Tensor]] = {}  # block -> first step, increments from there on

    def length(self, step: int) -> float:
        return abs(self.ticks[step + 1] - self.ticks[step]) * (self.horizon / TICKS)

    def increment(self, step: int, block: int) -> Tensor:
        first, made = self.ready.get(block, (0, torch.empty(0)))
        if not first <= step < first + len(made):
            count = max(1, AHEAD // max(1, math.prod(self.shape)))
            first, made = step, self._path(step, count, block, False)[0]
            self.ready[block] = first, made
        return made[step - first]

    def joint(self, step: int, block: int) -> tuple[Tensor, Tensor]:
        dw, integral = self._path(step, 1, block, True)
        return dw[0], integral[0] if self.forward else -integral[0]

    def _path(self, step: int, count: int, block: int, integral: bool) -> list[Tensor]:
        ends = torch.tensor(self.times[step : step + count + 1], dtype=torch.float64, device="cpu")
        path = self._number(block)
        return ops.brownian(self.shape, self.seeds, self.first_index, path, ends, self.horizon, integral, self.dtype)

    def _number(self, block: int) -> int:
        return block + FORWARD_PATH * self.forward

    def _area_draw(self, step: int) -> int:
        return area_number(self._number(0), *sorted(self.ticks[step : step + 2]))
