"""The samplers of azula on one of our processes."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from ours import Normals, distance, net, run, start

import torchdiff

# our spec, their class, its options, our process
CASES = (
    ("ddpm", "DDPMSampler", {}, "vp"),
    ("ddim", "DDIMSampler", {}, "vp"),
    ("ddim:eta=0.5", "DDIMSampler", {"eta": 0.25}, "vp"),
    ("ddim:eta=1", "DDIMSampler", {"eta": 1.0}, "sub_vp"),
    ("euler", "EulerSampler", {}, "vp"),
    ("heun", "HeunSampler", {}, "vp"),
    ("lms:order=2", "zABSampler", {"order": 2}, "vp"),
    ("lms:order=3", "zABSampler", {"order": 3}, "vp"),
    ("adams:order=2", "vABSampler", {"order": 2}, "flow"),
    ("adams:order=3", "vABSampler", {"order": 3}, "flow"),
    ("deis:order=2,basis=log_snr", "zEABSampler", {"order": 2}, "vp"),
    ("deis:order=3,basis=log_snr", "zEABSampler", {"order": 3}, "vp"),
    ("dpmpp_2m:variant=taylor", "xEABSampler", {"order": 2}, "vp"),
    ("dpmpp_3m", "xEABSampler", {"order": 3}, "vp"),
    ("sa_solver:predictor=4,corrector=0,tau=0", "xEABSampler", {"order": 4}, "vp"),
)
HIGH, LOW = 0.9, 0.05


def meet(solver, name, options, sde, steps):
    """How far the end of their sampler is from that of our solver, at even times."""
    azula = pytest.importorskip(
        "azula.sample", reason="azula is not installed: pip install --no-deps azula==0.11.1 einops"
    )
    from azula.denoise import Denoiser, DiracPosterior

    process = torchdiff.get_sde(sde)

    def schedule(t):
        levels = [process.level(float(time)) for time in t.reshape(-1)]
        pairs = ([level.alpha for level in levels], [level.sigma for level in levels])
        return tuple(torch.tensor(values, dtype=torch.float64).reshape(t.shape) for values in pairs)

    class Net(Denoiser):
        def __init__(self):
            super().__init__()
            self.schedule = schedule

        def forward(self, x, t):
            alpha, sigma = schedule(t)
            return DiracPosterior(net(x, alpha**2 / (alpha**2 + sigma**2)))

    times = torch.linspace(HIGH, LOW, steps + 1, dtype=torch.float64)
    ours, normals = run(process, solver, times.tolist(), "x0")
    sampler = getattr(azula, name)(
        Net(), start=HIGH, stop=LOW, steps=steps, silent=True, dtype=torch.float64, **options
    )
    with mock.patch.object(torch, "randn_like", Normals(normals)):
        return distance(sampler(start()), ours)
