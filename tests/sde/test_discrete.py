"""The table of betas: its own times, its sources' tables, the curve between them."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

import torchdiff
from torchdiff.registry import SDES
from torchdiff.sde import DiscreteVP

# alpha-bar of DDPM's linear table and sigma / alpha at both ends of scaled_linear: float64 values, good to 1e-14
BAR = {0: 0.9999, 1: 0.9997800920720721, 9: 0.9981052047858344, 99: 0.89701814567496, 499: 0.07858724288177824,
       749: 0.0033505504389367744, 999: 4.035829765375676e-05}  # fmt: skip
ENDS = (0.029167158151720367, 14.614641229333639)


def test_ddpm_is_its_table():
    """alpha^2 at the own times is the published alpha-bar; index and time are inverse."""
    sde = DiscreteVP()
    for index, bar in BAR.items():
        level = sde.level(sde.time(index))
        assert level.alpha**2 == pytest.approx(bar, rel=1e-13)  # a sum of 1000 logarithms against a product of 1000
        assert sde.index(level) == pytest.approx(index, abs=1e-12)


def test_stable_diffusion_has_its_sigmas():
    """sigma / alpha of scaled_linear at its first and last time."""
    sde = DiscreteVP(schedule="scaled_linear")
    for index, sigma in zip((0, 999), ENDS, strict=True):
        level = sde.level(sde.time(index))
        assert level.sigma / level.alpha == pytest.approx(sigma, rel=1e-13)


def tables():
    diffusers = pytest.importorskip("diffusers.schedulers.scheduling_ddim")
    cosine = diffusers.betas_for_alpha_bar(1000, alpha_transform_type="cosine")
    linear = torch.linspace(1e-4, 0.02, 1000)
    scaled = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    zero = diffusers.rescale_zero_terminal_snr
    return {
        "ddpm:schedule=cosine": cosine,
        "ddpm:zero_snr=true": zero(linear),
        "ddpm:schedule=scaled_linear,zero_snr=true": zero(scaled),
    }


@pytest.mark.parametrize(
    "spec", ["ddpm:schedule=cosine", "ddpm:zero_snr=true", "ddpm:schedule=scaled_linear,zero_snr=true"]
)
def test_other_tables_are_those_of_diffusers(spec):
    """alpha at every index is diffusers': their float32 products are good to 1e-5, to 1e-6 near 0."""
    theirs = (1.0 - tables()[spec].double()).cumprod(0).sqrt().tolist()
    sde = SDES.get(spec)
    for index, alpha in enumerate(theirs):
        assert sde.alpha(sde.time(index)) == pytest.approx(alpha, rel=1e-5, abs=1e-6)
    if "zero_snr" in spec:
        assert sde.level(1.0)[1:] == (0.0, 1.0)


@pytest.mark.parametrize("spec", ["ddpm", "ddpm:schedule=cosine,count=50", "ddpm:zero_snr=true"])
def test_the_curve_is_smooth_at_the_own_times(spec):
    """log(alpha + offset) has two continuous derivatives at its knots, and the table's values on both sides."""
    sde = SDES.get(spec)
    spline, n = sde.table.spline, sde.count
    for knot in (1, 2, n // 2, n - 1):
        before, after = spline.cubics[knot - 1], spline.cubics[knot]
        a, b, c = before
        assert sum(before) == pytest.approx(spline.values[knot] - spline.values[knot - 1], rel=1e-12)
        assert a + 2 * b + 3 * c == pytest.approx(after[0], rel=1e-9)
        # curvatures cancel to some 1e-16 of the values' differences
        assert 2 * b + 6 * c == pytest.approx(2 * after[1], rel=1e-6, abs=1e-13)


def test_betas_of_ones_own():
    """A table given as numbers, as text, or by its schedule is one process; its spec carries the numbers."""
    numbers = [1e-4 + (0.02 - 1e-4) * i / 999 for i in range(1000)]
    sde, named = DiscreteVP(betas=numbers), DiscreteVP()
    assert SDES.get(SDES.spec(sde)) == sde
    assert sde.table.alphas == pytest.approx(named.table.alphas, rel=1e-13)
    assert DiscreteVP(betas=torch.tensor(numbers, dtype=torch.float64)) == sde
    assert DiscreteVP(betas=np.array([0.1, 0.2, 0.3, 0.4])).count == 4


def test_steep_tables_fall_too():
    """A table of 50 betas whose second is five times the first still makes a process: log alpha falls everywhere."""
    sde = DiscreteVP(count=50)
    alphas = [sde.alpha(i / 2000) for i in range(2001)]
    assert all(math.isfinite(a) and a > b for a, b in pairwise(alphas))


@pytest.mark.parametrize("solver", ["ddim", "ddim:eta=1", "ddpm", "dpmpp_2m", "heun", "ode", "euler_maruyama"])
def test_zero_terminal_snr_is_sampled_from_pure_noise(solver):
    """From alpha = 0 at t = 1 with the exact v network of N(0, 1/4), at every number of steps from 1 to 12."""
    sde = DiscreteVP(zero_snr=True)

    def v(x, t):
        level = sde.level(float(t[0]))
        return x * (level.alpha * level.sigma * (1.0 - 0.25) / (0.25 * level.alpha**2 + level.sigma**2))

    for steps in range(1, 13):
        out = torchdiff.sample(v, sde, solver, steps=steps, shape=(4, 3), prediction="v", seed=0)
        assert out.plan.grid[0].alpha == 0.0
        assert out.finite.all()
    # at 400 steps the exact push-forward is within 10 % of the data's variance: a first-order error of a coarse grid
    plan = torchdiff.plan(sde, solver, steps=400, prediction="v")
    assert float(torchdiff.gaussian.moments(plan, 0.25).cov[0, 0, 0]) == pytest.approx(0.25, rel=0.1)
