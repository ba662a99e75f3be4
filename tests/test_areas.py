"""Laws of the Levy areas: the moments of the true ones, given the same increments and time integrals."""

from __future__ import annotations

import pytest
import torch

from torchdiff import SDE, noise, reverse, simulate
from torchdiff.areas import levy_area, pairs
from torchdiff.interop.torchsde import BrownianPath
from torchdiff.wiener import Brownian, White

COUNT, LENGTH, CELLS = 20_000, 0.5, 16
LOG_ODE = {"method": "torchsde:method=log_ode"}


def normals(columns, draw):
    return noise.normal((COUNT, columns), seed=4, draw=draw, dtype=torch.float64)


def walked():
    """W, U and the area of two processes over LENGTH, summed over the cells of a path by Chen's rule.

    Each cell enters with the mean of its area: what is missing has the variance LENGTH^2 / (12 CELLS).
    """
    ends = [LENGTH * i / CELLS for i in range(CELLS + 1)]
    dw, du = noise.brownian((COUNT, 2), ends, seed=7, horizon=LENGTH, integral=True, dtype=torch.float64)
    step = LENGTH / CELLS
    w, u, area = torch.zeros(COUNT, 2, dtype=torch.float64), torch.zeros(COUNT, 2, dtype=torch.float64), 0.0
    for cell, integral in zip(dw, du, strict=True):
        h = integral / step - 0.5 * cell
        area = area + 0.5 * (w[:, 0] * cell[:, 1] - cell[:, 0] * w[:, 1]) + h[:, 0] * cell[:, 1] - cell[:, 0] * h[:, 1]
        u, w = u + step * w + integral, w + cell
    return w, u, area


@pytest.mark.parametrize("whose", ["the path's", "ours"])
def test_areas_have_their_mean_and_variance_given_w_and_u(whose):
    """A - (H_1 W_2 - W_1 H_2) has mean 0 and variance h^2 / 20 + h (H_1^2 + H_2^2) / 5 for true areas, and for ours.

    By regression of its square on (1, H_1^2 + H_2^2). Five standard errors of the coefficients: a term of torchsde's
    h^2 / 50 in the first's place is 60 % off, of the second h / 10 would be 50 %.
    """
    w, u, true = walked()
    h = u / LENGTH - 0.5 * w
    area = true if whose == "the path's" else levy_area(w, u, LENGTH, normals(1, 1))[:, 0, 1]
    missing = LENGTH**2 / (12 * CELLS) if whose == "the path's" else 0.0
    rest = area - (h[:, 0] * w[:, 1] - w[:, 0] * h[:, 1])
    columns = torch.stack([torch.ones(COUNT, dtype=torch.float64), h.square().sum(1)], dim=1)
    found = torch.linalg.lstsq(columns, rest.square().unsqueeze(1)).solution[:, 0]
    left = rest.square() - columns @ found
    inverse = torch.linalg.inv(columns.T @ columns)
    errors = 5.0 * (inverse @ (columns.T * left.square()) @ columns @ inverse).diagonal().sqrt()  # White's
    assert errors[0] < 0.3 * LENGTH**2 / 20
    assert errors[1] < 0.4 * LENGTH / 5
    assert abs(found[0] - (LENGTH**2 / 20 - missing)) <= errors[0]
    assert abs(found[1] - LENGTH / 5) <= errors[1]
    assert abs(rest.mean()) <= 5.0 * rest.std() / COUNT**0.5


def test_areas_are_antisymmetric_and_each_pair_has_its_own():
    """A_ij = -A_ji to the last bit; the rest of an area beside its mean is uncorrelated with that of another pair."""
    w, u = normals(3, 2), normals(3, 3)
    area = levy_area(w, u, 1.0, normals(pairs(3), 4))
    h = u - 0.5 * w
    assert torch.equal(area, -area.transpose(1, 2))
    rest = area - (h.unsqueeze(2) * w.unsqueeze(1) - w.unsqueeze(2) * h.unsqueeze(1))
    each = torch.stack([rest[:, 0, 1], rest[:, 0, 2], rest[:, 1, 2]])
    assert (torch.corrcoef(each) - torch.eye(3)).abs().max() < 5.0 / COUNT**0.5


def test_the_path_s_areas_belong_to_their_interval():
    """An area is a function of seed, sample and interval: the same in any batch and order, another elsewhere."""
    path = BrownianPath((4, 3), 1.0, 3.0, seed=5, dtype=torch.float64)
    w, u, area = path(1.5, 2.25, return_U=True, return_A=True)
    path(1.0, 3.0, return_A=True)
    assert torch.equal(path(1.5, 2.25, return_A=True)[1], area)
    assert torch.equal(path(1.5, 2.25), w)
    alone = BrownianPath((1, 3), 1.0, 3.0, seed=5, first_index=2, dtype=torch.float64)
    assert torch.equal(alone(1.5, 2.25, return_A=True)[1][0], area[2])
    h = u / 0.75 - 0.5 * w
    mean = h.unsqueeze(2) * w.unsqueeze(1) - w.unsqueeze(2) * h.unsqueeze(1)
    std = (0.75**2 / 20 + 0.15 * (h.square().unsqueeze(2) + h.square().unsqueeze(1))).sqrt()
    other_w, other_u, other = path(1.5, 2.5, return_U=True, return_A=True)
    g = other_u - 0.5 * other_w
    other_mean = g.unsqueeze(2) * other_w.unsqueeze(1) - other_w.unsqueeze(2) * g.unsqueeze(1)
    other_std = (1.0 / 20 + 0.2 * (g.square().unsqueeze(2) + g.square().unsqueeze(1))).sqrt()
    z, other_z = (area - mean) / std, (other - other_mean) / other_std
    assert ((z - other_z).abs()[:, [0, 0, 1], [1, 2, 2]] > 1e-6).all()
    assert torch.equal(path(2.0, 2.0, return_A=True)[1], torch.zeros(4, 3, 3, dtype=torch.float64))


def heisenberg():
    """X = W_1, Y = W_2, Z their Levy area: noise that does not commute, of which log_ode makes Z = A in one step."""

    def g(x, t):
        one, none = torch.ones_like(x[:, 0]), torch.zeros_like(x[:, 0])
        rows = [[one, none], [none, one], [-0.5 * x[:, 1], 0.5 * x[:, 0]]]
        return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)

    return SDE.of(lambda x, t: 0.0, g, "matrix")


@pytest.mark.parametrize("way", ["forward", "backward"])
def test_log_ode_has_strong_order_one_half_where_noise_does_not_commute(way):
    """The Levy area by n steps and by N steps on one path is 1 / (6 n) apart in mean square, whatever N.

    Both have the mean given what n steps see; about it n steps add 1 / (12 n) that is not the path's, and miss as much
    that is. Without the area 1 / (12 n) is left, with it turned round 5 / (6 n). Five standard errors.
    """
    sde, times = heisenberg(), [0.0, 1.0]
    if way == "backward":  # g g^T has no divergence and the score given is 0: the same equation
        sde, times = reverse(sde, lambda x, t: torch.zeros_like(x)), [1.0, 0.0]
    x0 = torch.zeros(3000, 3, dtype=torch.float64)
    fine = simulate(sde, x0, times, seed=3, steps=6, **LOG_ODE).x[-1, :, 2]
    for n in (1, 3):
        far = (simulate(sde, x0, times, seed=3, steps=n, **LOG_ODE).x[-1, :, 2] - fine).square()
        assert abs(far.mean() - 1.0 / (6 * n)) <= 5.0 * far.std() / len(far) ** 0.5


@pytest.mark.parametrize(("kind", "n"), [("brownian", 1), ("white", 3)])
def test_the_area_of_two_processes_has_variance_one_quarter(kind, n):
    """E Z^2 = t^2 / 4 (Levy 1951), for any number of steps and on white noise too. Five standard errors."""
    x0 = torch.zeros(COUNT, 3, dtype=torch.float64)
    z = simulate(heisenberg(), x0, [0.0, 1.0], seed=2, steps=n, noise=kind, **LOG_ODE).x[-1, :, 2].square()
    assert 5.0 * z.std() / COUNT**0.5 < 0.03  # torchsde's foster would have 0.22, its davie 0.33
    assert abs(z.mean() - 0.25) <= 5.0 * z.std() / COUNT**0.5


@pytest.mark.parametrize("kind", [White, Brownian])
def test_areas_have_normals_of_their_own(kind):
    """What an area adds to its mean is uncorrelated with the W and H that made the mean: no draw is used twice."""
    like, seeds = torch.zeros(COUNT, 2, dtype=torch.float64), torch.tensor([3])
    clock = [(0.0, 1.0)] if kind is Brownian else []
    wiener = kind([0.0, 1.0], like.shape, like, seeds, 0, 1, *clock)
    (w, u), (again, area) = wiener.joint(0, 0), wiener.area(0)
    h = u - 0.5 * w
    rest = area[:, 0, 1] - (h[:, 0] * w[:, 1] - w[:, 0] * h[:, 1])
    assert torch.equal(w, again)
    assert torch.corrcoef(torch.cat([rest.unsqueeze(1), w, h], dim=1).T)[0, 1:].abs().max() < 5.0 / COUNT**0.5
