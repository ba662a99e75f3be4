"""Our side of a comparison: the network that all peers are given, its noise, and a run of ours on their grid."""

from __future__ import annotations

import torch

import torchdiff
from torchdiff.noise import normal

SHAPE, SEED = (2, 3, 4), 5


def net(x, clean):
    """A network without symmetry, of x and of snr / (1 + snr), which is finite everywhere; any prediction."""
    place = 1.0 - clean
    return 0.4 * torch.tanh(1.3 * x - 0.2) + 0.3 * x * torch.cos(3.0 * place) + 0.2 * torch.sin(5.0 * place)


def start():
    return normal(SHAPE, seed=3, dtype=torch.float64)


def share(level):
    """alpha^2 / (alpha^2 + sigma^2), what `net` is told of a level."""
    return level.alpha**2 / (level.alpha**2 + level.sigma**2)


def run(sde, solver, times, prediction, x=None):
    """(x at the end of our run, the normals that it drew in order)."""
    denoiser = torchdiff.wrap(lambda x, t: net(x, t.reshape(-1, 1, 1)), prediction, time=share)
    options = dict(times=times, final="t_min")
    plan = torchdiff.plan(sde, solver, denoiser=denoiser, **options)
    normals = [normal(SHAPE, seed=SEED, draw=draw, dtype=torch.float64) for draw in plan.draws]
    return torchdiff.sample(denoiser, sde, solver, x=start() if x is None else x, seed=SEED, **options).x, normals


class Normals:
    """Hands out the normals of our run in order, and after them ones, which a peer must not use."""

    def __init__(self, normals):
        self.left = list(normals)

    def __call__(self, *args, **words):
        return self.left.pop(0) if self.left else torch.ones(SHAPE, dtype=torch.float64)


def distance(theirs, ours):
    """The largest difference, over the scale of the state."""
    return float((theirs - ours).abs().max() / ours.abs().max())
