"""A scheduler of diffusers run in float64 on our network and our noise."""

from __future__ import annotations

import contextlib
import functools
import math
import sys
from unittest import mock

import diffusers
import numpy
import torch
from ours import Normals, distance, net, run, start

import torchdiff


class Wide:
    """A module whose float32 is float64."""

    def __init__(self, module):
        self.module = module

    def __getattr__(self, name):
        return getattr(self.module, "float64" if name == "float32" else name)


@contextlib.contextmanager
def wide(scheduler):
    """Inside, the scheduler's file knows float64 only: its tables and states are cast to float32 otherwise."""
    module, default = sys.modules[type(scheduler).__module__], torch.get_default_dtype()
    patches = {"torch": Wide(torch), "np": Wide(numpy)}
    torch.set_default_dtype(torch.float64)
    try:
        with contextlib.ExitStack() as stack:
            for name, patch in patches.items():
                if hasattr(module, name):
                    stack.enter_context(mock.patch.object(module, name, patch))
            yield
    finally:
        torch.set_default_dtype(default)


def prepared(build, steps):
    """The scheduler with its grid, all tables being their float64 selves."""
    scheduler = build()
    if hasattr(scheduler, "alphas_cumprod"):
        c = scheduler.config
        betas = torch.linspace(c.beta_start, c.beta_end, c.num_train_timesteps, dtype=torch.float64)
        scheduler.alphas_cumprod = torch.cumprod(1.0 - betas, dim=0)
        scheduler.alphas, scheduler.betas = 1.0 - betas, betas
        scheduler.one = torch.ones((), dtype=torch.float64)
        if hasattr(scheduler, "final_alpha_cumprod"):
            scheduler.final_alpha_cumprod = scheduler.one if c.set_alpha_to_one else scheduler.alphas_cumprod[0]
    with wide(scheduler):
        scheduler.set_timesteps(steps)
    return scheduler


def sigma(scheduler, t):
    """sigma / alpha at which the network is asked now; sigma itself where alpha = 1 - sigma."""
    if hasattr(scheduler, "step_index") and scheduler.step_index is None:
        scheduler._init_step_index(t)
    if not hasattr(scheduler, "alphas_cumprod") and not hasattr(scheduler, "sigmas"):  # IPNDM
        return scheduler.betas[scheduler.step_index] / scheduler.alphas[scheduler.step_index]
    if not hasattr(scheduler, "sigmas"):
        bar = scheduler.alphas_cumprod[int(t)]
        return ((1.0 - bar) / bar).sqrt()
    index = scheduler.step_index
    first = getattr(scheduler, "state_in_first_order", True)
    if not first and hasattr(scheduler, "sigmas_interpol"):
        return scheduler.sigmas_interpol[index - ("Ancestral" in type(scheduler).__name__)]
    if not first and hasattr(scheduler, "mid_point_sigma"):
        return scheduler.mid_point_sigma
    return scheduler.sigmas[index]


def loop(scheduler, exact, normals, x, **options):
    """x at the end. exact: in float64 all the way; else as it is shipped, with its float32 states."""
    module, draws, flow = sys.modules[type(scheduler).__module__], Normals(normals), is_flow(scheduler)
    with contextlib.ExitStack() as stack:
        if exact:
            stack.enter_context(wide(scheduler))
        if hasattr(module, "randn_tensor"):
            stack.enter_context(mock.patch.object(module, "randn_tensor", draws))
        if hasattr(scheduler, "noise_sampler"):
            scheduler.noise_sampler = draws
        for t in scheduler.timesteps:
            now = float(sigma(scheduler, t))
            clean = (1.0 - now) ** 2 / (now**2 + (1.0 - now) ** 2) if flow else 1.0 / (1.0 + now**2)
            seen = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
            said = net(seen, torch.tensor(clean, dtype=torch.float64))
            x = scheduler.step(said, t, x, **options).prev_sample
    return x


def is_flow(scheduler):
    return any(word in type(scheduler).__name__ for word in ("FlowMatch", "RF")) or bool(
        scheduler.config.get("use_flow_sigmas")
    )


def process(scheduler, every):
    """(our process, the times of our grid, by how much the scheduler's state is larger than ours at the start)."""
    config, name = scheduler.config, type(scheduler).__name__
    sde = torchdiff.get_sde("cosine:s=0,t_max=1")
    if name == "CosineDPMSolverMultistepScheduler":
        times = [at(sde, s) for s in scheduler.sigmas]
        return sde, times, 1.0 / sde.level(times[0]).alpha
    if name == "IPNDMScheduler":
        return sde, [at(sde, b / a) for a, b in zip(scheduler.alphas, scheduler.betas, strict=True)], 1.0
    if is_flow(scheduler) or name.startswith("EDM"):
        places = list(dict.fromkeys(scheduler.sigmas.tolist()))
        return (
            torchdiff.get_sde("flow" if is_flow(scheduler) else "edm"),
            places,
            1.0 if is_flow(scheduler) else places[0],
        )
    sde = torchdiff.get_sde("ddpm", beta_start=config.beta_start, beta_end=config.beta_end)
    if every > 1:
        times = [at(sde, s) for s in scheduler.sigmas]
        return sde, [*times[:-1:every], times[-1]], 1.0
    # where a network is asked between two levels, its time is none of the table's
    steps = list(dict.fromkeys(round(float(t)) for t in scheduler.timesteps if abs(t - round(float(t))) < 1e-9))
    dirty = scheduler.sigmas[-1] > 0.0 if hasattr(scheduler, "sigmas") else not config.get("set_alpha_to_one", True)
    times = [*map(sde.time, steps), sde.time(0) if dirty else 0.0]
    return sde, times, 1.0 / sde.level(times[0]).alpha if float(scheduler.init_noise_sigma) != 1.0 else 1.0


def at(sde, ratio):
    return sde.at(-math.log(ratio)).t if ratio > 0.0 else 0.0


PREDICTIONS = {
    "epsilon": "eps", "sample": "x0", "v_prediction": "v", "flow_prediction": "flow", "flow": "flow",
    "edm": "edm:sigma_data=0.5",
}  # fmt: skip


def meet(case, steps, prediction, modes=(True,), spec=None):
    """How far their end is from that of our solver (the case's own, or another) in so many steps, in each mode.

    The modes are those of `loop`: with float64 for its float32, or as shipped.
    """
    words = {"prediction_type": prediction} if prediction in ("epsilon", "sample", "v_prediction") else {}
    build = functools.partial(getattr(diffusers, f"{case.peer}Scheduler"), **(words | case.shown | case.options))
    if case.peer == "IPNDM":
        build = diffusers.IPNDMScheduler
    schedulers = [prepared(build, steps) for _ in modes]  # one run each
    if case.edit is not None:
        for scheduler in schedulers:
            case.edit(scheduler)
    sde, times, gain = process(schedulers[0], case.every)
    x = gain * start() if case.peer.startswith("EDM") else start()  # else theirs is x / alpha
    ours, normals = run(sde, spec or case.spec(steps), times, PREDICTIONS[prediction], x)
    ends = [loop(*pair, normals, gain * start(), **case.step) for pair in zip(schedulers, modes, strict=True)]
    return tuple(distance(end, ours) for end in ends)
