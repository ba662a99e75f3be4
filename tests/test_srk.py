"""srk: the increment and the integral of one path, in a plan, in its text, and in torchsde's own formula."""

from __future__ import annotations

import pytest
import torch

import torchdiff
from torchdiff.counters import block_of
from torchdiff.errors import PlanError
from torchdiff.plans import Plan


def contract(x, t):
    return -0.5 * x - torch.tanh(x)


def push(x, v, t):
    return -v - torch.sin(x)


@pytest.mark.parametrize("noise", ["white", "brownian"])
@pytest.mark.parametrize(("sde", "net"), [("vp", contract), ("cld:beta=0.1,slope=6.9", push)])
def test_srk_is_torchsde_s_on_the_same_noise(sde, net, noise):
    """Our plan and torchsde's srk give the same samples from the same normals, or from the same path.

    Dyadic times: the ticks of a path have them exactly. 1e-12: 7 steps of sums of magnitude 10 in another order.
    """
    pytest.importorskip("torchsde")
    options = dict(times=[1.0 - i / 8.0 for i in range(8)], shape=(3, 50), seed=4, final="t_min")
    runs = [
        torchdiff.sample(net, sde, name, prediction="score", noise=noise, dtype=torch.float64, **options).x
        for name in ("srk", "torchsde")
    ]
    assert (runs[0] - runs[1]).abs().max() <= 1e-12


def areas():
    return torchdiff.plan("cld", "srk", times=[1.0, 0.5, 0.25], noise="brownian", final="t_min", prediction="score")


def test_a_plan_has_an_increment_and_an_area_a_step():
    """Two draws a step and block over the step's interval, one the area; the table says which, JSON keeps it."""
    plan = areas()
    for known in (plan.spans, plan.areas):
        # the position of CLD has no noise of its own
        assert [(block_of(draw), *interval) for draw, *interval in known] == [(1, 1.0, 0.5), (1, 0.5, 0.25)]
    assert "z(1: 1 to 0.5)" in str(plan)
    assert "z(17: area, 1 to 0.5)" in str(plan)
    assert "(4 of Brownian paths)" in str(plan)
    assert Plan.from_json(plan.to_json()) == plan


def test_areas_of_a_file_are_checked():
    """Areas that overlap another interval, or a plan of white noise with areas, are refused."""
    text = areas().to_json()
    assert '"areas": [[17, 1.0, 0.5]' in text
    for old, new, message in (
        ('"areas": [[17, 1.0, 0.5]', '"areas": [[17, 1.0, 0.4]', "overlap"),
        ('"areas": [[17, 1.0, 0.5]', '"areas": [[17, 0.5, 0.25]', "overlap"),
        ('"noise": "brownian", "spans": [[1, 1.0, 0.5], [32769, 0.5, 0.25]]', '"noise": "white", "spans": []', "only"),
    ):
        assert old in text
        with pytest.raises(PlanError, match=message):
            Plan.from_json(text.replace(old, new))
    one = torchdiff.plan("vp", "srk", times=[1.0, 0.5], noise="brownian", final="t_min").to_json()
    assert '"areas": [[16, 1.0, 0.5]]' in one
    with pytest.raises(PlanError, match="overlap"):  # the increment over a part and the area over the whole
        Plan.from_json(one.replace('"areas": [[16, 1.0, 0.5]]', '"areas": [[16, 1.0, 0.6]]'))


def test_a_plan_may_hold_areas_alone():
    """A formula that reads the area and not the increment gets the path's area."""

    class Area(torchdiff.AffineSolver):
        def step(self, x, span, predict, noise):
            from torchdiff.levy import joint

            w, u = joint(noise)(span.cur, span.nxt)
            return 0.0 * predict(x, span.cur).score + u * (1.0 / (span.cur.t - span.nxt.t)) - w * 0.5

    options = dict(times=[1.0, 0.5], final="t_min", prediction="score", noise="brownian")
    plan = torchdiff.plan("vp", Area(), **options)
    assert (len(plan.spans), len(plan.areas)) == (0, 1)
    out = torchdiff.sample(contract, "vp", Area(), shape=(2, 5), seed=3, dtype=torch.float64, **options)
    (w,), (integral,) = torchdiff.noise.brownian(
        (2, 5), [1.0, 0.5], seed=3, horizon=1.0, integral=True, dtype=torch.float64
    )
    assert (out.x - (integral / -0.5 - 0.5 * w)).abs().max() <= 1e-14
