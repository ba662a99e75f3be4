"""Optimal grids on data that is not Gaussian: two mixtures with exact scores, and the digits network.

For each target, solver and number of network calls: the best of the fixed grids, and the three objectives of grid
"optimal" on the target's own spectrum. A run is compared with a fine one from the same noise: the root mean square
distance of both ends, in percent of the data's size. Of digits also the Frechet distance of the samples.

    python examples/optimal_grids.py [gmm2d] [gmm] [digits] [--count 300] [--solvers deis,ddim]
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

import torchdiff
from torchdiff.registry import TARGETS
from torchdiff.tune import optimal_times
from torchdiff.zoo import digits

SOLVERS = ("deis", "dpmpp_2m", "unipc", "ddim", "heun")
CALLS = (5, 8, 10, 20)
FIXED = ("log_snr", "karras", "uniform", "quadratic", "beta", "shift")
OBJECTIVES = ("steps", "own", "end")
FINE = {"gmm2d": 400, "gmm": 400, "digits": 100}
Run = Callable[..., Tensor]


def mixture(name: str, count: int) -> tuple[Run, object]:
    target = TARGETS.get(name)
    net = target.denoiser("vp")

    def run(solver: str, **options) -> Tensor:
        shape = (count, *target.shape)
        return torchdiff.sample(net, "vp", solver, shape=shape, seed=0, dtype=torch.float64, **options).x

    return run, target.spectrum()


def network(count: int) -> tuple[Run, object]:
    net = torchdiff.wrap(digits.unet(), prediction="v")
    label = torch.arange(count) % 10

    def run(solver: str, **options) -> Tensor:
        with torch.no_grad():
            shape = (count, 1, 28, 28)
            return torchdiff.sample(net, "vp", solver, shape=shape, seed=0, cond={"label": label}, **options).x

    return run, "digits"


def table(name: str, count: int, solvers: list[str]) -> None:
    run, spectrum = network(count) if name == "digits" else mixture(name, count)
    fine = run("dpmpp_3m", steps=FINE[name])
    size = fine.square().mean().sqrt().item()
    judge, real = (digits.classifier(), digits.reference()["features"]) if name == "digits" else (None, None)

    def far(x: Tensor) -> float:
        return 100.0 * (x - fine).square().mean().sqrt().item() / size

    def frechet(x: Tensor) -> float:
        return digits.frechet(judge.features(x), real) if judge is not None else math.nan

    print(f"\n{name}: {count} samples, against {FINE[name]} steps of dpmpp_3m")
    if judge is not None:
        floor = digits.frechet_floor(count)
        print(f"Frechet distance of the fine run {frechet(fine):.2f}, of real digits {floor[0]:.2f} +- {floor[1]:.2f}")
    print("| solver | calls | best fixed grid | rms % | steps | own | end | Frechet: fixed | steps | own | end |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    gain = dict.fromkeys(OBJECTIVES, 0.0)
    for solver in solvers:
        for calls in CALLS:
            fixed = {grid: run(solver, calls=calls, grid=grid) for grid in FIXED}
            best = min(fixed, key=lambda grid: far(fixed[grid]))
            ours = {}
            for objective in OBJECTIVES:
                times = optimal_times("vp", solver, calls=calls, spectrum=spectrum, objective=objective)
                ours[objective] = run(solver, times=times)
                gain[objective] += math.log(far(ours[objective]) / far(fixed[best])) / len(solvers) / len(CALLS)
            distances = " | ".join(f"{far(x):.2f}" for x in (fixed[best], *ours.values()))
            least = min(map(frechet, fixed.values()))  # of any fixed grid, not of the best one by distance
            frechets = " | ".join(
                "" if judge is None else f"{value:.2f}" for value in (least, *map(frechet, ours.values()))
            )
            print(f"| {solver} | {calls} | {best} | {distances} | {frechets} |", flush=True)
    print("geometric mean over the best fixed grid:", {name: f"{math.exp(value):.2f}" for name, value in gain.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", default=["gmm2d", "gmm", "digits"])
    parser.add_argument("--count", type=int, default=300, help="samples, a multiple of 10 for digits")
    parser.add_argument("--solvers", default=",".join(SOLVERS))
    args = parser.parse_args()
    for name in args.targets:
        start = time.perf_counter()
        table(name, args.count, args.solvers.split(","))
        print(f"{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
