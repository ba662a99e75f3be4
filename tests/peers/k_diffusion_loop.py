"""The samplers of k-diffusion, without the packages that it imports beside them."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import sys
import types
from pathlib import Path
from unittest import mock

import pytest
import torch
from ours import Normals, distance, net, run, start

SIGMAS = (80.0, 0.002)
# our spec, their function, its options; where a draw is taken, and why it is none of the others
CASES = (
    ("euler", "sample_euler", {}),
    ("euler_ancestral", "sample_euler_ancestral", {}),
    ("euler_ancestral:eta=0.5", "sample_euler_ancestral", {"eta": 0.5}),
    ("heun", "sample_heun", {}),
    ("edm:churn=5", "sample_heun", {"s_churn": 5.0}),
    ("dpm2", "sample_dpm_2", {}),
    ("dpm2_ancestral", "sample_dpm_2_ancestral", {}),
    ("lms", "sample_lms", {}),
    ("lms:order=2", "sample_lms", {"order": 2}),
    ("dpmpp_2s_ancestral", "sample_dpmpp_2s_ancestral", {}),
    ("dpmpp_2s_ancestral:eta=0.5", "sample_dpmpp_2s_ancestral", {"eta": 0.5}),
    ("dpmpp_sde", "sample_dpmpp_sde", {}),
    ("dpmpp_sde:eta=0.5,r=0.3", "sample_dpmpp_sde", {"eta": 0.5, "r": 0.3}),
    ("dpmpp_2m", "sample_dpmpp_2m", {}),
    ("dpmpp_2m_sde", "sample_dpmpp_2m_sde", {}),
    ("dpmpp_2m_sde:variant=taylor,eta=0.5", "sample_dpmpp_2m_sde", {"solver_type": "heun", "eta": 0.5}),
    ("dpmpp_3m_sde:compat=k_diffusion", "sample_dpmpp_3m_sde", {}),
    ("dpmpp_3m_sde:compat=k_diffusion,eta=0.5", "sample_dpmpp_3m_sde", {"eta": 0.5}),
    ("dpmpp_3m:compat=k_diffusion", "sample_dpmpp_3m_sde", {"eta": 0.0}),
)


@functools.cache
def samplers():
    """k_diffusion.sampling alone: the package itself imports kornia, wandb and more, of which no sampler uses one."""
    found = importlib.util.find_spec("k_diffusion")
    if found is None or found.origin is None:
        pytest.skip("k-diffusion is not installed: pip install --no-deps k-diffusion==0.1.1.post1")
    package, utils, odes = (types.ModuleType(n) for n in ("k_diffusion", "k_diffusion.utils", "torchdiffeq"))
    package.__path__ = [str(Path(found.origin).parent)]
    utils.append_dims = lambda x, count: x[(..., *[None] * (count - x.ndim))]
    package.utils, odes.odeint = utils, None
    pieces = {"k_diffusion": package, "k_diffusion.utils": utils, "torchdiffeq": odes}
    with mock.patch.dict(sys.modules, pieces):
        return importlib.import_module("k_diffusion.sampling")


def karras(steps):
    """The noise levels of EDM and the data, in float64: theirs are float32."""
    high, low = (sigma ** (1.0 / 7.0) for sigma in SIGMAS)
    return [*((high + (low - high) * i / max(steps - 1, 1)) ** 7.0 for i in range(steps)), 0.0]


def meet(solver, name, options, steps):
    """How far the end of their function is from that of our solver."""
    module, sigmas, x = samplers(), karras(steps), SIGMAS[0] * start()
    ours, normals = run("edm:t_max=120", solver, sigmas, "x0", x)  # churn goes up from 80
    draws = Normals(normals)

    def model(x, sigma):
        clean = 1.0 / (1.0 + sigma[0] ** 2)
        return net(x, clean)

    grid = torch.tensor(sigmas, dtype=torch.float64)
    function = getattr(module, name)
    words = {"noise_sampler": draws} if "noise_sampler" in inspect.signature(function).parameters else {}
    with mock.patch.object(torch, "randn_like", draws):
        return distance(function(model, x, grid, disable=True, **words, **options), ours)
