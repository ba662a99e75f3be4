"""Whole runs of torchdiff and of diffusers around one network that costs nothing, with the same number of calls."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from time import perf_counter

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import torchdiff

SOLVERS = {"ddpm": "DDPM", "ddim": "DDIM", "dpmpp_2m": "DPM++2M"}
MULTISTEP = {
    "dpmpp_2m_sde": "SDE-DPM++2M",
    "unipc:order=2": "UniPC-2",
    "unipc:order=3": "UniPC-3",
    "sa_solver": "SA-Solver",
}
Run = Callable[[Callable[..., Tensor], int], object]  # (network, calls)


class Constant:
    """A network that returns one tensor, and knows when it was called first and last."""

    def __init__(self, *shape: int) -> None:
        self.output = torch.randn(shape)
        self.first: float | None = None
        self.last = 0.0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.last = perf_counter()
        if self.first is None:
            self.first = self.last
        return self.output


class Moved(TorchDispatchMode):
    """Counts the tensors of one shape that torch's ops read and write: times their size, the bytes moved."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.count = shape, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, result))
        self.count += sum(isinstance(leaf, Tensor) and leaf.shape == self.shape for leaf in leaves)
        return result


def tensors_moved(run: Run, shape: tuple[int, ...]) -> float:
    """How many tensors of the shape of the state a step more reads and writes."""
    counts = []
    for calls in (20, 30):
        with Moved(shape) as moved:
            run(Constant(*shape), calls)
        counts.append(moved.count)
    return (counts[1] - counts[0]) / 10


def between_calls(run: Run, calls: int, shape: tuple[int, ...]):
    """A clock: seconds from one network call to the next, which leaves out all that comes before and after."""

    def clock() -> float:
        net = Constant(*shape)
        run(net, calls)
        assert net.first is not None
        return (net.last - net.first) / (calls - 1)

    return clock


def ours(solver: str, shape: tuple[int, ...], *, given: str = "steps") -> Run:
    """torchdiff.sample with its defaults: planning, prior, the look for nan in every output and in the samples.

    given: "steps", or "calls", which looks for the number of steps.
    """

    def run(net, calls):
        length = {given: calls if given == "calls" else calls - 1}  # the last call denoises
        samples = torchdiff.sample(net, "vp", solver, **length, shape=shape, prediction="eps", seed=0)
        assert samples.calls == calls
        return samples

    return run


def prepared(solver: str, shape: tuple[int, ...]) -> Run:
    """torchdiff.Sampler in eager mode: the plan of each number of calls is made once, and nothing is looked at."""
    samplers, seeds = {}, torch.tensor([0])

    def run(net, calls):
        if calls not in samplers:
            plan = torchdiff.plan("vp", solver, steps=calls - 1, prediction="eps")
            assert plan.calls == calls
            samplers[calls] = torchdiff.Sampler(net, plan, shape=shape)
        return samplers[calls](None, seeds)

    return run


def theirs(solver: str, shape: tuple[int, ...]) -> Run:
    """The loop of a diffusers pipeline: set_timesteps, prior, scale_model_input, step; no clipping, no look for nan."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs and their dependencies'
        import diffusers

        scheduler = {
            "ddpm": lambda: diffusers.DDPMScheduler(clip_sample=False),
            "ddim": lambda: diffusers.DDIMScheduler(clip_sample=False),
            "dpmpp_2m": diffusers.DPMSolverMultistepScheduler,  # its defaults are dpmsolver++ of order 2
            "dpmpp_2m_sde": lambda: diffusers.DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++"),
            "unipc:order=2": diffusers.UniPCMultistepScheduler,  # of order 2 by default
            "unipc:order=3": lambda: diffusers.UniPCMultistepScheduler(solver_order=3),
            "sa_solver": diffusers.SASolverScheduler,
        }[solver]()

    def run(net, calls):
        scheduler.set_timesteps(calls)
        assert len(scheduler.timesteps) == calls
        x = torch.randn(shape) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            x = scheduler.step(net(scheduler.scale_model_input(x, t), t), t, x).prev_sample
        return x

    return run
