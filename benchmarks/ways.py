"""What every way from noise to data misses on targets whose score is exact. A way is a solver on a grid, one network
call a step.

On one-block processes the number is the mean distance between the end of a run and that of a fine one from the same
noise: no solver that draws noise has such a distance, and none is looked at. On a process of blocks, where those that
draw are ahead, it is the energy distance to the data, not below what the data themselves score. Kept in out/auto.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import torchdiff
from torchdiff import storage
from torchdiff.bench.store import put
from torchdiff.errors import TorchdiffError
from torchdiff.registry import METRICS, SDES, TARGETS

KEPT = Path(__file__).parents[1] / "out" / "auto"
CALLS = (5, 8, 10, 15, 20, 30, 50)
# not ipndm, whose weights are those of even steps: what it scores on another grid is luck
SOLVERS = ("ddim", "dpmpp_2m", "dpmpp_3m", "unipc", "unipc:order=3", "deis", "deis:order=2")
GRIDS = ("log_snr", "uniform", "quadratic", "karras", "shift", "beta", "optimal")
BLOCK_SOLVERS = ("cld_exp", "cld_exp:eta=1", "sscs", "sscs_2m", "adams", "euler_maruyama")
BLOCK_GRIDS = ("uniform", "quadratic")  # "optimal" takes half a minute there, and no run may wait so long
LARGEST = 20  # calls: beyond, "optimal" is not tried, whose computation takes longer there than people wait
COUNT, FINE = 256, 400
Found = dict[int, dict[str, dict[str, float]]]  # calls -> "solver | grid" -> target -> number


def ways(sde: Any) -> list[tuple[str, str]]:
    solvers, grids = (SOLVERS, GRIDS) if sde.blocks == 1 else (BLOCK_SOLVERS, BLOCK_GRIDS)
    return [(solver, grid) for solver in solvers for grid in grids]


def plans(sde: Any) -> dict[tuple[int, str], tuple[str, tuple[float, ...]]]:
    """(calls, "solver | grid") -> (solver, times): what there is on this process."""
    found = {}
    for solver, grid in ways(sde):
        for calls in CALLS:
            if grid == "optimal" and calls > LARGEST:
                continue
            try:
                made = torchdiff.plan(sde, solver, calls=calls, grid=grid)
            except TorchdiffError as error:
                print(f"{sde!r}: {solver} on {grid} with {calls} calls: {error}", file=sys.stderr)
                break
            times = tuple(level.t for level in made.grid[: len(made.grid) - made.final])
            found[calls, f"{solver} | {grid}"] = solver, times
    return found


def measured(name: str, targets: Iterable[str]) -> Found:
    """The number of each way on each target, kept."""
    KEPT.mkdir(parents=True, exist_ok=True)
    sde, found = SDES.get(name), {calls: {} for calls in CALLS}
    made = None
    for spec in targets:
        place = KEPT / f"{name}.{spec.translate(str.maketrans(':=,', '---'))}.json"
        if not place.exists():
            made = made or plans(sde)
            began = time.perf_counter()
            kept = [[calls, way, number] for (calls, way), number in numbers(sde, spec, made)]
            storage.write(place, lambda file, kept=kept: put(file, json.dumps(kept)))
            print(f"{name}, {spec}: {time.perf_counter() - began:.0f} s", flush=True)
        for calls, way, number in json.loads(place.read_text()):
            found[calls].setdefault(way, {})[spec] = number
    return found


def numbers(sde: Any, spec: str, made: dict) -> Iterable[tuple[tuple[int, str], float]]:
    target = TARGETS.get(spec)
    net = target.denoiser(sde)
    many = COUNT if sde.blocks == 1 else 4 * COUNT

    def run(solver: str, **options: Any) -> Tensor:
        shape = (many, *target.shape)
        return torchdiff.sample(net, sde, solver, shape=shape, seed=0, dtype=torch.float64, **options).x

    if sde.blocks == 1:
        fine = run("dpmpp_3m", steps=FINE)
        size = fine.square().mean().sqrt()

        def judge(x: Tensor) -> float:
            return ((x - fine).flatten(1).square().mean(1).sqrt().mean() / size).item()
    else:
        energy = METRICS.get("energy").prepare(target.sample(many, seed=1))
        perfect = energy(target.sample(many, seed=2))

        def judge(x: Tensor) -> float:
            return max(energy(x), perfect)  # nothing is better than the data themselves

    for key, (solver, times) in made.items():
        yield key, judge(run(solver, times=times))
