"""A normal law within intervals: log-mass and mean, to all digits from sigma = 0 to far beyond the interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

NODES, WEIGHTS = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(32))
STILL = 1e-140  # below, sigma counts as 0: squares of distances over sigma would overflow
STEEP = 20.0  # a density that falls by exp(-20) over an interval leaves nothing to cancel between its ends


def cells(y: Tensor, sigma: Tensor, edges: Sequence[float]) -> tuple[Tensor, Tensor]:
    """(log of the mass + what all intervals share, mean) of N(y, sigma^2) within each of n intervals: (B, n) both.

    y, sigma (B,), sigma >= 0. Below STILL the means are the nearest points, and the log-masses those of sigma = 1 to
    leading order, -distance^2 / 2: the largest sum of them is the nearest field.
    """
    line = torch.tensor(edges, dtype=torch.float64, device=y.device)
    low, high = line[:-1].expand(len(y), -1), line[1:].expand(len(y), -1)
    y, sigma = y[:, None].expand_as(low), sigma[:, None].expand_as(low)
    still = sigma < STILL
    # seen from the nearer end: a at distance gap >= 0 outside, or inside with gap < 0
    flip = y > 0.5 * (low + high)
    sign = torch.where(flip, -1.0, 1.0).to(y.dtype)
    near, far = torch.where(flip, high, low), torch.where(flip, low, high)
    gap = (near - y) * sign
    mass, offset = _truncated(gap, (far - near) * sign, sigma.masked_fill(still, 1.0))
    inside = gap <= 0.0
    mass = torch.where(still, -0.5 * gap.clamp(min=0.0).square(), mass)
    mean = torch.where(still, torch.where(inside, y, near), near + sign * offset)
    return mass, mean


def _truncated(gap: Tensor, width: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Of N(0, sigma^2) in [gap, gap + width], gap >= -width / 2: log-mass and the mean's distance from gap."""
    a, h = gap / sigma, width / sigma
    slope = a * h
    root = math.sqrt(0.5)
    # outside: exp(-a^2 / 2) (erfcx(a) - exp(-a h - h^2 / 2) erfcx(b)) / 2, and no power of e is lost
    fall = torch.exp(-(slope + 0.5 * h * h))
    scaled = torch.special.erfcx(root * a.clamp(min=0.0)) - fall * torch.special.erfcx(root * (a + h))
    outside = -0.5 * a * a + torch.log(0.5 * scaled.clamp(min=1e-300))
    hazard = math.sqrt(2.0 / math.pi) * (1.0 - fall) / scaled.clamp(min=1e-300)
    # inside: both ends on their own side, so the two parts add up
    within = 0.5 * (torch.erf(root * (a + h)) - torch.erf(root * a))
    density = (torch.exp(-0.5 * a * a) - torch.exp(-0.5 * (a + h) ** 2)) / math.sqrt(2.0 * math.pi)
    mass = torch.where(a >= 0.0, outside, torch.log(within.clamp(min=1e-300)))
    rate = torch.where(a >= 0.0, hazard, density / within.clamp(min=1e-300))
    offset = sigma * (rate - a)
    # narrow against sigma: the ends cancel, but the density is smooth and 32 points of Gauss have all its digits
    smooth = (h < 1.0) & (slope < STEEP)
    if bool(smooth.any()):
        part = _gauss(a[smooth], h[smooth])
        mass[smooth], offset[smooth] = part[0], part[1] * width[smooth]
    return mass, offset


def _gauss(a: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Log-mass in [a, a + h] of a standard normal law, and the mean's distance from a over h."""
    u, w = 0.5 * (NODES.to(a.device) + 1.0), 0.5 * WEIGHTS.to(a.device)
    weight = w * torch.exp(-(a[:, None] * h[:, None] * u + 0.5 * (h[:, None] * u) ** 2))
    total = weight.sum(1)
    return -0.5 * a * a + torch.log(h * total / math.sqrt(2.0 * math.pi)), (weight @ u) / total
