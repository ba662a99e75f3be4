"""The exact push-forward: it says what sampling would say, and what theory says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from instances import MOVERS

import torchdiff
from torchdiff import gaussian, get_sde, get_solver
from torchdiff.errors import IncompatibleError, OptionError
from torchdiff.steps import OpaqueStep

AFFINE = [(solver, sde) for solver, sde in MOVERS if all(part.affine for part in get_solver(solver).parts())]
# the tests below read scores, of which there is none at flow's alpha = 0; its variant inside (0, 1) stands for it
SCORED = [(solver, sde) for solver, sde in AFFINE if sde != "flow"]


def exact_net(sde: str, variance: float, mean: float):
    """The exact score network of N(mean, variance) data: what `gaussian` uses, written for tensors from Bayes' rule."""
    process = get_sde(sde)

    def net(*inputs):
        *blocks, t = inputs
        level = process.level(float(t[0]))
        law = gaussian.marginal(process, level, variance, mean)
        gain = torch.from_numpy(np.linalg.inv(law.cov[0])[-1])
        return -sum(g * (b - m) for g, b, m in zip(gain, blocks, law.mean[0], strict=True))

    return net


@pytest.mark.parametrize(("solver", "sde"), SCORED)
def test_push_equals_a_run_on_tensors(solver, sde):
    """The linear map and shift of `push` are those of the sampler run on tensors with the exact score network."""
    options = dict(steps=6, final="t_min", prediction="score")
    affine = gaussian.push(torchdiff.plan(sde, solver, **options), 0.25, 0.3)
    blocks = get_sde(sde).blocks
    outputs = []
    for column in range(blocks + 1):  # zero start, then a unit start in each block; the noise is the same each time
        start = [torch.full((1, 1), float(b == column - 1), dtype=torch.float64) for b in range(blocks)]
        out = torchdiff.sample(exact_net(sde, 0.25, 0.3), sde, solver, x=tuple(start), seed=0, **options)
        outputs.append(torch.cat([b.flatten() for b in out.state]).numpy())
    matrix = np.stack([column - outputs[0] for column in outputs[1:]], axis=1)
    # 1e-9: unit responses are differences of states up to 1e3 times larger (VE), in float64
    assert np.abs(matrix - affine.matrix[0]).max() < 1e-9 * max(1.0, np.abs(outputs[0]).max())


@pytest.mark.parametrize(
    ("solver", "sde"), [("ddpm", "vp"), ("euler_maruyama", "cld"), ("sscs", "cld"), ("ddim:eta=0.5", "ve")]
)
def test_push_has_the_covariance_of_samples(solver, sde):
    """Mean and covariance of a million sampled values lie within 5 standard errors of the exact ones."""
    options = dict(steps=8, prediction="score")
    law = gaussian.moments(torchdiff.plan(sde, solver, **options), 0.25, 0.3)
    out = torchdiff.sample(
        exact_net(sde, 0.25, 0.3), sde, solver, shape=(100, 10_000), dtype=torch.float64, seed=1, **options
    )
    x, var = out.x.numpy().ravel(), float(law.cov[0, 0, 0])
    assert abs(x.mean() - law.mean[0, 0]) < 5.0 * math.sqrt(var / x.size)
    assert abs(x.var() / var - 1.0) < 5.0 * math.sqrt(2.0 / x.size)


def test_probability_flow_map_is_the_ratio_of_spreads():
    """A fine probability-flow run maps x by the ratio of standard deviations, the exact flow of Gaussian data."""
    plan = torchdiff.plan("vp", "heun", steps=2000, t_max=0.8, t_min=0.1, final="t_min")
    first, last = (float(gaussian.marginal(plan.sde, plan.grid[i], 0.3).cov[0, 0, 0]) for i in (0, -1))
    # 1e-6: a second-order method at 2000 steps, error constant below 4
    assert abs(gaussian.push(plan, 0.3).matrix[0, 0, 0] / math.sqrt(last / first) - 1.0) < 1e-6


def test_a_long_plan_in_pieces_equals_one_piece(monkeypatch):
    """Handing the covariance over between pieces changes nothing but rounding, named draws and all."""
    plan = torchdiff.plan("cld", "sscs", steps=100)
    variance = np.linspace(0.1, 1.0, 64)  # so many that pieces are short
    pieces = gaussian.push(plan, variance, 0.2)
    monkeypatch.setattr(gaussian.pushing, "pieces", lambda plan, length: iter([(plan.items, plan.result)]))
    for a, b in zip(pieces, gaussian.push(plan, variance, 0.2), strict=True):
        assert np.abs(a - b).max() < 1e-13


def test_input_scale_and_mixing_do_not_change_the_law():
    """A network that wants its input scaled is the same network: the plan folds the scale, the push undoes it."""
    scaled = torchdiff.wrap(None, "v", input_scale="unit")
    plain = torchdiff.plan("ve", "dpmpp_2m", steps=10, prediction="v")
    folded = torchdiff.plan("ve", "dpmpp_2m", steps=10, denoiser=scaled)
    assert folded.items[3].weights != plain.items[3].weights
    assert abs(gaussian.w2(folded, 0.25, 0.1) / gaussian.w2(plain, 0.25, 0.1) - 1.0) < 1e-10


def test_w2_is_the_distance_of_normal_laws():
    """W2 adds squared differences of means and standard deviations over the eigenvalues; it shrinks with the steps."""
    plan = torchdiff.plan("vp", "ddim", steps=7)
    variance, mean = np.array([0.2, 1.5]), np.array([0.3, -0.1])
    law = gaussian.moments(plan, variance, mean)
    by_hand = np.sum((law.mean[:, 0] - mean) ** 2) + np.sum((np.sqrt(law.cov[:, 0, 0]) - np.sqrt(variance)) ** 2)
    assert gaussian.w2(plan, variance, mean) == pytest.approx(math.sqrt(by_hand), rel=1e-14)
    errors = [gaussian.w2(torchdiff.plan("vp", "dpmpp_2m", steps=n), variance, mean) for n in (10, 40, 160)]
    assert errors[0] > errors[1] > errors[2]


def test_what_cannot_be_pushed_is_named():
    """A plan with an opaque item, and data that is no covariance, are refused by name."""
    plan = torchdiff.plan("vp", "predictor_corrector", steps=3)
    assert any(isinstance(item, OpaqueStep) for item in plan.items)
    with pytest.raises(IncompatibleError, match=r"Langevin.*needs sampling"):
        gaussian.push(plan, 0.25)
    for bad in (-1.0, math.nan, [[1.0]], "a"):
        with pytest.raises(OptionError, match="eigenvalues"):
            gaussian.push(torchdiff.plan("vp", "ddim", steps=3), bad)
    with pytest.raises(OptionError, match="encodes"):
        gaussian.w2(torchdiff.plan("vp", "ddim", times=[0.1, 0.5]), 0.25)
    with pytest.raises(OptionError, match="'prior' or 'marginal', got 'x'"):
        gaussian.moments(torchdiff.plan("vp", "ddim", steps=3), 1.0, start="x")
