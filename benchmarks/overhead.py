"""What a step of a sampler costs beside its network: microseconds a step, the least of 60 runs of 400 steps.

Run: python benchmarks/overhead.py
    plan   the formula traced to coefficients          tables  coefficients, draw numbers and times as tensors
    step   the loop itself: network call that costs nothing, look at its output, affine; `torchdiff.sample`'s own loop
"""

from __future__ import annotations

import time

import torch

import torchdiff
from torchdiff import noise, run
from torchdiff.inputs import Place

SHAPE, STEPS = (1, 3, 8, 8), 400


def least(action, times: int = 60) -> tuple[float, object]:
    """Microseconds a step of the fastest of so many calls, and what the last one returned."""
    best, result = float("inf"), None
    for _ in range(times):
        start = time.perf_counter()
        result = action()
        best = min(best, time.perf_counter() - start)
    return best / STEPS * 1e6, result


def main() -> None:
    torch.set_num_threads(1)
    answer = torch.full(SHAPE, 0.1)
    denoiser = torchdiff.wrap(lambda x, t: answer, "eps")
    place, seeds = Place(SHAPE, torch.float32, torch.device("cpu")), noise.as_seeds(0, 1)
    print(f"{'us a step':10s} {'plan':>6s} {'tables':>6s} {'step':>6s}")
    with torch.no_grad():
        for solver in ("ddim", "ddpm", "dpmpp_2m"):
            planning, plan = least(
                lambda solver=solver: torchdiff.plan("vp", solver, steps=STEPS, denoiser=denoiser), 10
            )
            setup, last = least(lambda plan=plan: run.Run(plan, denoiser, seeds, 0, place, "raise"))
            start = last.prior()
            times, _ = least(lambda plan=plan, x=start[0]: run._times(plan, denoiser, x))
            loops, _ = least(
                lambda plan=plan, x=start: run.Run(plan, denoiser, seeds, 0, place, "raise").execute(x, None)
            )
            print(f"{solver:10s} {planning:6.1f} {setup + times:6.1f} {loops - setup - times:6.1f}")


if __name__ == "__main__":
    main()
