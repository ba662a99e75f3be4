"""The densities of the kernels solve the Fokker-Planck equation of F and G."""

import math

import pytest
import torch


def density(x, mean, cov):
    """N(x; mean, cov) for x and mean (points, n), cov (points, n, n)."""
    gap = (x - mean)[:, :, None]
    exponent = -0.5 * (gap.mT @ torch.linalg.inv(cov) @ gap)[:, 0, 0]
    return torch.exp(exponent) / torch.sqrt(torch.linalg.det(2 * math.pi * cov))


def gradient(values, at):
    return torch.autograd.grad(values.sum(), at, create_graph=True)[0]


def divergence(field, at):
    return sum(gradient(field[:, i], at)[:, i] for i in range(field.shape[1]))


def residual(sde, start, t, derivative, drift_scale=1.0, noise_scale=1.0):
    """The largest |dp/dt + div(F x p) - div(G G^T grad p) / 2| over points, in units of the largest single term.

    x by autograd in float64. t through the closed forms: dp/dt = (dp/dmean) mean' + (dp/dcov) cov', where autograd
    gives the first factors, and mean' and cov' are numeric derivatives of transition(start, t). The two scales multiply
    F and G, for the controls.
    """
    n = sde.blocks
    begin = torch.tensor([0.7, -0.3], dtype=torch.float64)[:n]

    def moments(t):
        flow, factor = (torch.tensor(m, dtype=torch.float64) for m in sde.transition(start, t))
        return flow @ begin, factor @ factor.T

    mean, cov = moments(t)
    points = torch.randn(64, n, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    x = (mean + points @ torch.linalg.cholesky(cov).T).requires_grad_()
    # one mean and one cov a point, so that the derivative by them is taken point by point
    means, covs = mean.repeat(64, 1).requires_grad_(), cov.repeat(64, 1, 1).requires_grad_()
    p = density(x, means, covs)
    mean_slope, cov_slope = (derivative(lambda t, part=part: moments(t)[part], t) for part in (0, 1))
    dt = (gradient(p, means) * mean_slope).sum(1) + (gradient(p, covs) * cov_slope).sum((1, 2))
    drift = drift_scale * torch.tensor(sde.drift(t), dtype=torch.float64)
    noise = noise_scale * torch.tensor(sde.noise(t), dtype=torch.float64)
    transport = divergence(x @ drift.T * p[:, None], x)
    diffusion = -0.5 * divergence(gradient(p, x) @ (noise @ noise.T), x)
    terms = torch.stack([dt, transport, diffusion]).detach()
    return float(terms.sum(0).abs().max() / terms.abs().max())


@pytest.mark.parametrize(("start", "t"), [(0.0, 0.1), (0.05, 0.3), (0.3, 0.6)])
def test_kernels_solve_fokker_planck(sde, derivative, start, t):
    """dp/dt + div(F x p) - div(G G^T grad p) / 2 = 0 for p(x, t | x_start).

    1e-11: the derivatives in t are good to 1e-13, and an ill-conditioned cov (1000 for CLD) may multiply
    that; measured 1.1e-13.
    """
    assert residual(sde, start, t, derivative) <= 1e-11


@pytest.mark.parametrize(("start", "t"), [(0.0, 0.1), (0.3, 0.6)])
def test_one_percent_of_drift_or_noise_shows(sde, derivative, start, t):
    """The control: with F or G off by 1 % the residual is far above that tolerance, so the law does read both."""
    if any(map(any, sde.drift(t))):  # VE has none
        assert residual(sde, start, t, derivative, drift_scale=1.01) >= 5e-4
    assert residual(sde, start, t, derivative, noise_scale=1.01) >= 5e-4
