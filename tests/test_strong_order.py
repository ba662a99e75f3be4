"""Strong order of convergence: runs of N and 2N steps on one Brownian path come together as declared."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import torchdiff
from torchdiff import gaussian, get_solver, list_solvers
from torchdiff.sde import ScalarSDE
from torchdiff.solvers import AffineSolver
from torchdiff.solvers.euler_maruyama import reverse_drift
from torchdiff.testing import order, strong
from torchdiff.testing.report import OK

# options that change what is declared, and the process that shows an order as it is; None where none does
MORE = ["cld_exp:eta=1", "cld_exp:eta=1,order=1", "cld_exp:eta=0.5,order=1,hold=eps"]
SPECS = [spec for spec in (*list_solvers(), *MORE) if getattr(get_solver(spec), "strong_order", None) is not None]
SDES = ["vp", "flow", "cld", "cld:beta=0.1,slope=6.9"]


@pytest.mark.parametrize("spec", [spec for spec in SPECS if get_solver(spec).affine])
def test_strong_order_on_gaussian_data(spec):
    """With a linear score the distance falls with the declared order at least, within 0.05, and as declared somewhere.

    srk is better there: of its error only what f'' makes has order 3/2, and that is 0; the next term has order 2.
    """
    solver = get_solver(spec)
    findings = list(strong.strong_order(solver, order.from_middle(solver, SDES)))
    assert {finding[3] for finding in findings} == {OK}, findings
    declared = 2.0 if spec == "srk" else solver.strong_order
    assert min(abs(float(finding[1]) - declared) for finding in findings) <= 0.05, findings


class Motion(ScalarSDE):
    """dx = dw: forward there is noise alone, back there is the score besides."""

    t_min, t_max = 0.5, 2.0

    def alpha(self, t):
        return 1.0

    def sigma(self, t):
        return math.sqrt(t)

    def rates(self, t):
        return 0.0, 0.5 / math.sqrt(t)


@pytest.mark.parametrize(("spec", "declared"), [("srk", 1.5), ("euler_maruyama", 1.0)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_strong_order_with_a_score_that_is_not_linear(spec, declared, seed):
    """dx = -tanh(4 x) dt + dw, 20000 paths from 32 to 256 steps: the declared order within 0.05, known to 0.02."""
    assert get_solver(spec).strong_order == declared
    options = dict(seed=seed, noise="brownian", prediction="score", grid="uniform", final="t_min")
    ends = [
        torchdiff.sample(
            lambda x, t: -torch.tanh(4.0 * x), Motion(), spec, steps=steps,
            x=torch.zeros(20, 1000, dtype=torch.float64), **options,
        ).x
        for steps in (32, 64, 128, 256)
    ]  # fmt: skip
    squares = torch.stack([(a - b).square().mean(1) for a, b in itertools.pairwise(ends)])  # 3 levels, 20 batches
    slope = 0.25 * torch.log2(squares[0].mean() / squares[2].mean())
    spread = 0.25 * torch.log2(squares[0] / squares[2]).std()
    assert 1.96 * float(spread) / math.sqrt(20.0) <= 0.02
    assert abs(float(slope) - declared) <= 0.05


class Twice(AffineSolver):
    """Euler-Maruyama with half of its variance from a second draw, which no path has: white noise."""

    def step(self, x, span, predict, noise):
        h = span.cur.t - span.nxt.t
        fresh = noise(span.cur, span.nxt) + noise(span.cur, span.nxt)
        spread = span.sde.noise(span.cur.t) * math.sqrt(0.5 * h)
        return x - reverse_drift(x, span, predict) * h + spread @ fresh


@pytest.mark.parametrize(("spec", "sde"), [("srk", "vp"), ("srk", "cld"), ("sscs", "cld"), (Twice(), "vp")])
def test_exact_distances_are_those_of_samples(spec, sde):
    """`strong.distances` is the rms distance of runs on tensors with the exact score, from 20000 starts: within 3 %.

    3 %: five standard errors of an rms from 60000 normal values, a third of them of the largest eigenvalue.
    """
    solver = get_solver(spec) if isinstance(spec, str) else spec
    case = order.from_middle(solver, [sde])[0]
    (wanted,) = strong.distances(solver, case, (4, 8))
    level = case.sde.level(case.high)
    law, rng = gaussian.marginal(case.sde, level, order.VARIANCE, order.MEAN), np.random.default_rng(5)
    z = rng.standard_normal((20000, 3, case.sde.blocks))
    start = law.mean + np.einsum("kij,bkj->bki", np.linalg.cholesky(law.cov), z)

    def score(*inputs):
        *blocks, t = inputs
        law = gaussian.marginal(case.sde, case.sde.level(float(t[0])), order.VARIANCE, order.MEAN)
        gains = torch.from_numpy(-np.linalg.inv(law.cov)[:, -1].copy())
        away = torch.stack(blocks, dim=-1) - torch.from_numpy(law.mean)
        return (away * gains).sum(-1)

    blocks = tuple(torch.from_numpy(start[..., i].copy()) for i in range(case.sde.blocks))
    runs = [
        torchdiff.sample(
            score, case.sde, spec, steps=steps, x=blocks if len(blocks) > 1 else blocks[0], prediction="score", seed=8,
            noise="brownian", grid="uniform", t_max=case.high, t_min=case.low, final="t_min",
        ).state
        for steps in (4, 8)
    ]  # fmt: skip
    gaps = torch.stack([a - b for a, b in zip(*runs, strict=True)])  # blocks, B, 3
    assert float(gaps.square().sum(0).mean().sqrt()) == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize("spec", ["srk", "cld_exp:eta=1", "cld_exp:eta=1,order=1,hold=eps"])
def test_solvers_of_one_seed_follow_one_path(spec):
    """On CLD the distance to Euler-Maruyama with the same seed is halved, from 128 to 256 steps and on to 512: slope 1.

    It may fall faster, where terms of second order still count; 0.1 for 2000 values. With the lower factor of its
    covariance, noise of the same law would stay 1.38 away.
    """

    def end(name, steps):
        return torch.stack(
            torchdiff.sample(
                lambda x, v, t: -v - torch.sin(x), "cld:mass=1,beta=1,t_max=3", name, steps=steps, shape=(4, 500),
                prediction="score", seed=1, noise="brownian", dtype=torch.float64, final="t_min", grid="uniform",
                t_min=0.1,
            ).state
        )  # fmt: skip

    gaps = [float((end(spec, n) - end("euler_maruyama", n)).square().mean().sqrt()) for n in (128, 256, 512)]
    for slope in (math.log2(a / b) for a, b in itertools.pairwise(gaps)):
        assert slope >= 0.9, gaps
