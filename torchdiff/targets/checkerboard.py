"""The uniform law on the black squares of a board, exact by error functions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torchdiff.errors import OptionError
from torchdiff.registry import TARGETS
from torchdiff.targets.base import Target

if TYPE_CHECKING:
    from torch import Tensor


@TARGETS.register("checkerboard")
@dataclass(frozen=True)
class Checkerboard(Target):
    """The uniform law on the black squares of a board.

    A board of squares x squares fields on [-half, half]^2; black are those whose row and column add up to an even
    number, the lower left among them. The density has edges: its score is infinite there at sigma = 0.

        E[x0 | y] = sum_ij P_i(y_1) P_j(y_2) (m_i(y_1), m_j(y_2)) / sum_ij P_i(y_1) P_j(y_2)   over black ij

    P_i, m_i: mass and mean of N(y, sigma^2) within the i-th interval. At sigma = 0 the nearest point of the black.
    Raises OptionError for fewer than one square and a half that is not positive.
    """

    metrics: ClassVar[tuple[str, ...]] = ("sliced_w2", "energy", "w2", "mmd", "ks", "c2st")

    squares: int = 4
    half: float = 2.0

    def __post_init__(self) -> None:
        if self.squares < 1 or not 0.0 < self.half < math.inf:
            raise OptionError(f"checkerboard needs squares >= 1 and half > 0, got {self!r}")

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    @property
    def edges(self) -> list[float]:
        """The squares + 1 lines between the fields, along one side."""
        return [self.half * (2.0 * i / self.squares - 1.0) for i in range(self.squares + 1)]

    def fields(self) -> list[tuple[int, int]]:
        """The black fields, (i, j)."""
        return [(i, j) for i in range(self.squares) for j in range(self.squares) if (i + j) % 2 == 0]

    def draw(self, count: int, seed: Any, first_index: int) -> Tensor:
        import torch

        from torchdiff.targets import cloud

        black = torch.tensor(self.fields(), dtype=torch.float64)
        k = cloud.choose(torch.ones(len(black), dtype=torch.float64), count, seed, first_index)
        u = cloud.uniform(count, 2, seed, first_index, call=1)
        return self.half * (2.0 * (black[k] + u) / self.squares - 1.0)

    def posterior_mean(self, y: Tensor, sigma: Tensor) -> Tensor:
        import torch

        from torchdiff.targets.intervals import STILL, cells

        black = torch.tensor(self.fields(), device=y.device).T
        (mass_x, mean_x), (mass_y, mean_y) = (cells(column, sigma, self.edges) for column in y.T)
        mass = mass_x[:, black[0]] + mass_y[:, black[1]]
        nearest = torch.where(mass < mass.amax(1, keepdim=True), -torch.inf, 0.0)
        share = torch.softmax(torch.where((sigma < STILL)[:, None], nearest, mass), dim=1)
        return torch.stack([(share * mean_x[:, black[0]]).sum(1), (share * mean_y[:, black[1]]).sum(1)], dim=1)

    def moments(self) -> tuple[Tensor, Tensor]:
        import torch

        side = 2.0 * self.half / self.squares
        middle = torch.tensor(self.fields(), dtype=torch.float64) * side + (side / 2.0 - self.half)
        mean = middle.mean(0)
        away = middle - mean
        return mean, away.T @ away / len(middle) + torch.eye(2, dtype=torch.float64) * side**2 / 12.0
