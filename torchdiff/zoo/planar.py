"""Two-dimensional sets to look at: each point is a function of (seed, sample index)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from torchdiff.errors import UnknownNameError, shown
from torchdiff.noise import USER, draw_number, normal

NOISE = {"swiss_roll": 0.03, "moons": 0.06, "rings": 0.05}  # standard deviation of the points around their curve
FIRST = {"swiss_roll": 1.0, "moons": 0.5, "rings": 2.0 / 3.0}  # the part of the points on the first of two branches


def swiss_roll(u: Tensor, z: Tensor) -> Tensor:
    """A spiral of one and a half turns."""
    angle = 1.5 * math.pi * (1.0 + 2.0 * u[:, :1])
    return torch.cat([angle * angle.cos(), angle * angle.sin()], dim=1) / 7.5 + NOISE["swiss_roll"] * z


def moons(u: Tensor, z: Tensor) -> Tensor:
    """Two half circles that interlock."""
    angle, side = math.pi * u[:, :1], torch.where(u[:, 1:] < FIRST["moons"], 1.0, -1.0)
    return 1.1 * torch.cat([angle.cos() - 0.5 * side, side * (angle.sin() - 0.25)], dim=1) + NOISE["moons"] * z


def rings(u: Tensor, z: Tensor) -> Tensor:
    """Two circles around one centre."""
    angle, radius = 2.0 * math.pi * u[:, :1], torch.where(u[:, 1:] < FIRST["rings"], 1.6, 0.7)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1) + NOISE["rings"] * z


def pinwheel(u: Tensor, z: Tensor) -> Tensor:
    """Five bent arms."""
    radius = 0.25 + 1.6 * u[:, :1]
    angle = (u[:, 1:] * 5.0).floor() * (0.4 * math.pi) + 0.9 * radius + 0.10 * z[:, 1:]
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)


SETS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "swiss_roll": swiss_roll,
    "moons": moons,
    "rings": rings,
    "pinwheel": pinwheel,
}


def points(name: str, count: int, seed: int = 0, first_index: int = 0) -> Tensor:
    """(count, 2) float32 points of a set, of about unit variance. Raises UnknownNameError listing the known ones."""
    if name not in SETS:
        raise UnknownNameError(f"unknown set {shown(name)}; known: {', '.join(SETS)}")
    a, z = (
        normal((count, 2), seed=seed, first_index=first_index, draw=draw_number(USER, call=k), dtype=torch.float64)
        for k in (0, 1)
    )
    uniform = 0.5 * (1.0 + torch.erf(a / math.sqrt(2.0)))
    return SETS[name](uniform, z).float()
