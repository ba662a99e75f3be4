"""The loop that samples: a plan executed on tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchdiff import inputs
from torchdiff.auto import AUTO
from torchdiff.blocks import pack
from torchdiff.brownian import BrownianRun
from torchdiff.denoiser import Denoiser
from torchdiff.errors import OptionError
from torchdiff.grids import Grid
from torchdiff.noise import NOISE_VERSION, as_seeds, fresh_seed
from torchdiff.plans import Plan
from torchdiff.progress import bar
from torchdiff.remembered import planned
from torchdiff.run import Run
from torchdiff.sde.base import Level, LinearSDE
from torchdiff.solvers.base import Solver

Seed = int | Sequence[int] | Tensor
See = Callable[[int, Level, Any], None]


@dataclass(frozen=True, eq=False)
class Samples:
    """What `sample` returns.

    x:          the samples (B, *event); for a block SDE the position, for a latent model decoded.
    state:      all blocks of the state: (x,), or (x, v) for CLD; latents where x is decoded.
    seed:       the seed that was used: what makes the same samples again, drawn for you if you gave none.
    finite:     (B,) bool: samples that are finite and for which the network never returned a value that is not
                (with on_nonfinite="ignore" only the samples are looked at).
    trajectory: (intervals + 1, B, *event), the position at each level of plan.grid, not decoded; None unless asked.
    plan:       what was executed; calls: how often the network was called.
    noise_version: the version of the map from seeds to normals.
    """

    x: Tensor
    state: tuple[Tensor, ...]
    seed: Any
    first_index: int
    finite: Tensor
    trajectory: Tensor | None
    plan: Plan
    calls: int
    noise_version: int = NOISE_VERSION

    def __repr__(self) -> str:
        return f"Samples(x={tuple(self.x.shape)} {self.x.dtype}, seed={self.seed!r}, {self.plan!r})"


def sample(
    net: Callable[..., Tensor] | Denoiser,
    sde: LinearSDE | str,
    solver: Solver | str = AUTO,
    *,
    steps: int | None = None,
    calls: int | None = None,
    times: Iterable[float] | None = None,
    sigmas: Iterable[float] | None = None,
    grid: Grid | str | None = None,
    shape: Sequence[int] | None = None,
    x: Tensor | Sequence[Tensor] | None = None,
    prediction: str | None = None,
    seed: Seed | None = None,
    noise: str = "white",
    first_index: int = 0,
    t_min: float | None = None,
    t_max: float | None = None,
    final: str | None = None,
    cond: Mapping[str, Any] | None = None,
    callback: See | None = None,
    trajectory: bool = False,
    progress: bool | str = False,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    on_nonfinite: str = "raise",
    grad: bool = False,
) -> Samples:
    """Turn a trained network into samples.

    net:         called net(x, t, **cond), for an n-block SDE net(x, v, t, **cond); x (B, *event), t (B,); or a `wrap`.
                 It leaves its inputs as they are. Its output is read in the dtype of the state.
    sde, solver: objects, or registered names with options: "vp", "ddim:eta=0.5", "predictor_corrector:predictor=heun";
                 "auto" is what did best at this number of steps on this process, with its grid, as `plan` says.
    steps, calls, times, sigmas, grid, t_min, t_max, final: as in `plan`.
    shape:       of the samples, the batch first, any event shape; or x: the state to start from (B, *event), one or
                 one tensor for each block, at the first time. With increasing times x is data and is encoded.
                 For a latent model shape and x are of latents, but for data that is encoded.
    prediction:  "eps", "x0", "v", "score", "flow", ...: what net returns. A `wrap` knows it already.
    seed:        an integer; a sequence of B (sample i is then what that seed alone gives); None draws one, kept in
                 the result. Sample i is a function of (seed, first_index + i) only, whatever the batch around it.
    noise:       "white", or "brownian": the seed is then one Brownian path at any number of steps, as `plan` says.
    cond:        keyword arguments for every network call.
    callback:    called with (interval, level reached, x) after each interval; x is a tensor, or Blocks of them,
                 and still in use: copy it before you write to it.
    trajectory:  keep x at every level of the grid. progress: a bar that counts network calls, a string names it.
    dtype:       of the state, float32 by default. device: by default that of x, else of the network's parameters.
    on_nonfinite: what to do when the network returns nan or infinity: "raise" NonFiniteError naming step, t and the
                 first sample (at once on a CPU, at the end on an accelerator), "mark" them in the result, "ignore".
    grad:        record the computation for autograd; without it the run takes no memory per step.
    Returns Samples. Raises errors of the ValueError family that say what came and what was expected.
    """
    denoiser = inputs.denoiser(net, prediction, cond)
    if callback is not None and not callable(callback):
        raise OptionError(f"callback is called as callback(interval, level, x), got {callback!r}")
    plan = planned(
        sde,
        solver,
        denoiser,
        trajectory or callback is not None,
        steps=steps,
        calls=calls,
        times=times,
        sigmas=sigmas,
        grid=grid,
        t_min=t_min,
        t_max=t_max,
        final=final,
        noise=noise,
    )
    encodes, latent = plan.grid[0].t < plan.grid[-1].t, getattr(denoiser, "latent", None)
    if encodes and x is None:
        raise OptionError("increasing times encode data: give it as x")
    if encodes and latent is not None:
        with torch.set_grad_enabled(grad):
            x = latent.encoded(x)
    start, place = inputs.start(plan, net, shape, x, dtype, device)
    first_index = inputs.index(first_index)
    seed = fresh_seed() if seed is None else seed
    with torch.set_grad_enabled(grad):
        kind = Run if noise == "white" else BrownianRun
        run = kind(plan, denoiser, as_seeds(seed, place.shape[0]), first_index, place, on_nonfinite)
        first = run.prior() if start is None else start
        frames = [first[0].clone()] if trajectory else []

        def after(step: int, blocks: tuple[Tensor, ...]) -> None:
            if trajectory:
                frames.append(blocks[0].clone())
            if callback is not None:
                callback(step, plan.grid[step + 1], pack(blocks))

        with bar(plan.calls if progress else None, progress) as run.tick:
            state = run.execute(first, after if trajectory or callback is not None else None)
        finite = run.guard.finish(state)
        samples = state[0]
        if latent is not None and not encodes:
            samples = latent.decoded(samples)
            finite = run.guard.decoded(samples, finite)
    seen = torch.stack(frames) if trajectory else None
    return Samples(samples, state, seed, first_index, finite, seen, plan, run.calls)
