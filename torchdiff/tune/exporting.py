"""Optimal times as plain numbers, for other programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchdiff import storage
from torchdiff.denoiser import Denoiser
from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.grids.optimal import Optimal
from torchdiff.planner import likely, request
from torchdiff.registry import SDES
from torchdiff.sde.base import LinearSDE, ScalarSDE
from torchdiff.solvers.base import Solver

SUFFIXES = (".json", ".txt")


def optimal_times(
    sde: LinearSDE | str,
    solver: Solver | str,
    *,
    steps: int | None = None,
    calls: int | None = None,
    spectrum: Any = "power",
    objective: str = "steps",
    t_max: float | None = None,
    t_min: float | None = None,
    final: str | None = None,
    cache: bool = True,
) -> tuple[float, ...]:
    """The times of grid "optimal" (see torchdiff.grids.Optimal), falling from t_max to t_min.

    steps or calls, t_max, t_min, final: as in `plan`. spectrum: see torchdiff.spectra.spectrum.
    """
    sde = SDES.get(sde)
    denoiser = Denoiser(None, likely(sde, sde.t_max if t_max is None else t_max))
    wish = request(
        sde, solver, denoiser, steps=steps, calls=calls, times=None, grid=Optimal(spectrum, objective, cache),
        t_min=t_min, t_max=t_max, final=final,
    )  # fmt: skip
    levels = wish.grid if wish.final is None else wish.grid[:-1]
    return tuple(level.t for level in levels)


def sigmas_of(sde: LinearSDE | str, times: Sequence[float]) -> tuple[float, ...]:
    """sigma / alpha at each time, which `plan` and others take as sigmas. Raises IncompatibleError for block SDEs and
    where alpha = 0."""
    sde = SDES.get(sde)
    if not isinstance(sde, ScalarSDE):
        raise IncompatibleError(
            f"sigmas are sigma / alpha, {sde!r} has {sde.blocks} blocks and no such number; take times"
        )
    levels = [sde.level(t) for t in times]
    for level in levels:
        if level.alpha == 0.0:
            raise IncompatibleError(
                f"sigma / alpha of {sde!r} is infinite at t = {level.t:g}; take times, or a lower t_max"
            )
    return tuple(level.sigma / level.alpha for level in levels)


def export(path: Any, numbers: Sequence[float]) -> Path:
    """Write numbers to a .json file as a list, or to a .txt file one a line; the digits give the same floats back."""
    target = storage.reserve(path, SUFFIXES)
    listed = [float(value) for value in numbers]
    if not listed:
        raise OptionError("there is nothing to export: no numbers")
    text = json.dumps(listed) if target.suffix == ".json" else "\n".join(map(repr, listed))
    storage.write(target, lambda file: file.writelines([f"{text}\n".encode()]))
    return target
