"""Exact networks for Gaussian data, row by row in float64, and small networks that are no formula at all."""

from __future__ import annotations

import torch

from torchdiff import get_sde

# output of a network that predicts so, from x0, eps, alpha and sigma: the definitions of the papers
OUTPUT = {
    "eps": lambda x0, eps, alpha, sigma: eps,
    "x0": lambda x0, eps, alpha, sigma: x0,
    "v": lambda x0, eps, alpha, sigma: alpha * eps - sigma * x0,
    "score": lambda x0, eps, alpha, sigma: -eps / sigma,
    "flow": lambda x0, eps, alpha, sigma: eps - x0,
}


def wide(values, x):
    """(B,) numbers, one a sample, as what multiplies x (B, *event)."""
    return torch.as_tensor(values, dtype=x.dtype).reshape(-1, *[1] * (x.dim() - 1))


def levels(sde, t, x):
    """alpha and sigma of each sample's time."""
    found = [get_sde(sde).level(float(time)) for time in t]
    return wide([level.alpha for level in found], x), wide([level.sigma for level in found], x)


def score(x, mean, variance, alpha, sigma):
    """grad log N(x; alpha mean, alpha^2 variance + sigma^2)."""
    return -(x - alpha * mean) / (alpha**2 * variance + sigma**2)


def network(sde, prediction, means, variance):
    """net(x, t, label) for data that is N(means[label], variance) in every element."""

    def net(x, t, label):
        alpha, sigma = levels(sde, t, x)
        eps = -sigma * score(x, wide(torch.as_tensor(means, dtype=x.dtype)[label], x), variance, alpha, sigma)
        return OUTPUT[prediction]((x - sigma * eps) / alpha, eps, alpha, sigma)

    return net


def field(*inputs, label):
    """A row-wise network of no particular meaning: bounded slope, and each label has another one."""
    *blocks, t = inputs
    label, time = wide(label, blocks[0]), wide(t, blocks[0])
    slope = 0.3 * torch.tanh(sum(blocks) + 0.2 * label)
    return slope - 0.5 * blocks[-1] + 0.1 * torch.cos(3.0 * time + label)
