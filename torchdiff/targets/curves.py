"""The classic sets along a curve in the plane: Gaussians so close that no gap shows, and exactly a mixture of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torchdiff.errors import OptionError
from torchdiff.registry import TARGETS
from torchdiff.targets.mixture import MixtureTarget


class Curve(MixtureTarget):
    """`points` Gaussians at equal steps of a curve of torchdiff.zoo.planar, with its noise.

    At the default number they lie at most 0.6 noise apart: the density along the curve ripples by 2 exp(-2 pi^2 / 0.36)
    = 3e-24 of itself. Samples are drawn from the mixture, so that its score is theirs exactly.
    Raises OptionError for fewer than one point.
    """

    modal: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = ("sliced_w2", "energy", "w2", "mmd", "ks", "c2st")
    curve: ClassVar[str]  # its name in torchdiff.zoo.planar
    points: int

    def __post_init__(self) -> None:
        if self.points < 1:
            raise OptionError(f"{self.curve} needs 1 point or more, got {self.points}")

    def parts(self) -> tuple[Any, Any, Any]:
        import torch

        from torchdiff.zoo import planar

        # the first uniform number runs along a branch, the second chooses it
        share = planar.FIRST[self.curve]
        u = (torch.arange(self.points, dtype=torch.float64) + 0.5) / self.points
        first = u < share
        along = torch.where(first, u / share, (u - share) / (1.0 - share if share < 1.0 else 1.0))
        branch = torch.where(first, 0.0, 0.999).to(u.dtype)
        centres = planar.SETS[self.curve](torch.stack([along, branch], dim=1), u.new_zeros(self.points, 2))
        return torch.ones_like(u), centres, planar.NOISE[self.curve] ** 2


@TARGETS.register("moons")
@dataclass(frozen=True)
class Moons(Curve):
    """Two half circles that interlock, a mixture of 512 Gaussians along them (points)."""

    curve: ClassVar[str] = "moons"
    points: int = 512


@TARGETS.register("rings")
@dataclass(frozen=True)
class Rings(Curve):
    """Two circles around one centre, a mixture of 768 Gaussians along them (points), two thirds on the outer one."""

    curve: ClassVar[str] = "rings"
    points: int = 768


@TARGETS.register("swiss_roll")
@dataclass(frozen=True)
class SwissRoll(Curve):
    """A spiral of one and a half turns, a mixture of 1024 Gaussians along it (points)."""

    curve: ClassVar[str] = "swiss_roll"
    points: int = 1024
