"""Plans wider than one call of the op: split, and the same all the same."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from instances import MOVERS, field, prediction_for

import torchdiff
from torchdiff import gaussian, noise, remembered
from torchdiff import split as narrow
from torchdiff.blocks import Blocks, Mat
from torchdiff.denoiser import Denoiser
from torchdiff.execute import execute
from torchdiff.planner import request
from torchdiff.plans import Plan
from torchdiff.sde import VP, Level, LinearSDE
from torchdiff.solvers import AffineSolver, Carry
from torchdiff.steps import AffineStep

SHAPE = (2, 5)


def fits(plan: Plan) -> bool:
    """Within what one call of the op takes."""
    return all(
        len(item.weights) <= 8 and len(item.draws) <= 8 and (len(item.reads) <= 32 or not item.weights)
        for item in plan.items
        if isinstance(item, AffineStep)
    )


def on_tensors(plan: Plan, dtype: torch.dtype) -> list[torch.Tensor]:
    """Result and every shown x of a plan by plain arithmetic of any width: float64 sums, rounded once an item."""
    shown: list[torch.Tensor] = []

    def network(inputs, step, state):
        return [torch.tanh(sum(inputs)) * (1.0 + 0.1 * k) for k in range(len(step.mix))]

    def combine(index, step, tensors):
        rows = []
        for weights, fresh in zip(step.weights, step.noise, strict=True):
            total = torch.zeros(SHAPE, dtype=torch.float64)  # the last column first, as the op adds
            for weight, draw in reversed([*zip(fresh, step.draws, strict=True)]):
                total = total + weight * noise.normal(SHAPE, seed=3, draw=draw, dtype=dtype).double()
            for weight, tensor in reversed([*zip(weights, tensors, strict=True)]):
                total = total + weight * tensor.double()
            rows.append(total.to(dtype))
        return rows

    start = [noise.normal(SHAPE, seed=1, draw=b, dtype=dtype) for b in range(plan.blocks)]
    result = execute(plan, start, network, combine, None, lambda step, blocks: shown.extend(blocks))
    return [*result, *shown]


@dataclass(frozen=True)
class Many(LinearSDE):
    """n blocks that forget alike and lean on their neighbour: dx_i = (x_{i+1} / 2 - x_i) dt, and 0.4 dw on the last."""

    n: int = 11
    t_min: float = 0.01
    t_max: float = 1.0

    @property
    def blocks(self):
        return self.n

    def level(self, t):
        e = math.exp(-t)
        spread = [[math.sqrt(1.0 - e * e + 1e-6) if i == j else 0.0 for j in range(self.n)] for i in range(self.n)]
        return Level(t, Mat.diag(*[e] * self.n), Mat(spread))

    def drift(self, t):
        return Mat([[-1.0 if i == j else 0.5 * (j == i + 1) for j in range(self.n)] for i in range(self.n)])

    def noise(self, t):
        return Mat([[0.4 * (i == j == self.n - 1) for j in range(self.n)] for i in range(self.n)])

    def transition(self, start, end):
        raise NotImplementedError

    def prior(self, t):
        return Mat.diag(*[1.0] * self.n)


@dataclass(frozen=True)
class Memorious(AffineSolver):
    """x + sum_k c_k eps_k over the last `reach` calls, and `draws` normals: a formula wider than any that is known."""

    reach: int = 40
    draws: int = 9
    weak_order: ClassVar[float | None] = None

    @property
    def memory(self):
        return self.reach

    def step(self, x, span, predict, noise):
        model = predict(x, span.cur)
        score = model.score
        blocks = score if isinstance(score, Blocks) else (score,)
        out = x * 0.9 + score * 0.01
        for k, past in enumerate(span.past):
            out = out + past * ((-0.7) ** k * 0.05)
        for k in range(self.draws):
            out = out + noise(span.cur, span.nxt) * (0.1 / (k + 1))
        memo = Blocks(block * (1.0 + i) for i, block in enumerate(blocks)) if len(blocks) > 1 else score * 2.0
        return Carry(out, memo)


plans = st.builds(
    lambda n, reach, draws, steps, watch: (n, Memorious(reach, draws), min(steps, 7 if n > 2 else 45), watch),
    n=st.sampled_from([1, 2, 3, 11]),
    reach=st.sampled_from([0, 1, 4, 40]),
    draws=st.sampled_from([0, 1, 9, 17]),
    steps=st.sampled_from([2, 7, 45]),
    watch=st.booleans(),
)


def pair(case) -> tuple[Plan, Plan]:
    """The split plan, and the one that was not split."""
    n, solver, steps, watch = case
    sde = VP() if n == 1 else Many(n)
    net = Denoiser(None, "eps" if n == 1 else "score")
    wish = request(sde, solver, net, steps=steps, calls=None, times=None, grid=None, t_min=None, t_max=None, final=None)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ROWS", "TENSORS", "DRAWS"):
            patch.setattr(narrow, name, 10**6)
        wide = wish.trace(net, watch=watch)
    return wish.trace(net, watch=watch), wide


@settings(max_examples=40)
@given(case=plans)
def test_a_split_plan_is_the_unsplit_one(case):
    """No item is wider than a call of the op; in float64 results and shown states are those of the wide plan.

    Bit for bit, but where more than 8 draws are added up in parts: 1e-12 of the largest then.
    """
    mine, wide = pair(case)
    assert fits(mine)
    for a, b in zip(on_tensors(mine.check(), torch.float64), on_tensors(wide, torch.float64), strict=True):
        assert torch.equal(a, b) if case[1].draws <= 8 else (a - b).abs().max() <= 1e-12 * b.abs().max()
    assert (mine.calls, mine.result) == (wide.calls, wide.result)
    assert set(mine.draws) == set(wide.draws)
    assert str(mine)


@settings(max_examples=30)
@given(case=plans)
def test_the_exact_push_does_not_see_the_split(case):
    """Pushed as one piece, map, shift and covariance on Gaussian data are equal but for the order of additions."""
    mine, wide = pair(case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian.pushing, "pieces", lambda plan, length: iter([(plan.items, plan.result)]))
        a, b = gaussian.push(mine, (0.3, 1.5), 0.2), gaussian.push(wide, (0.3, 1.5), 0.2)
    for mine_part, wide_part in zip((a.matrix, a.shift, a.cov), (b.matrix, b.shift, b.cov), strict=True):
        # 45 steps over at most 41 terms whose largest partial sums outweigh the result by up to 100
        assert np.abs(mine_part - wide_part).max() <= 1e-12 * np.abs(wide_part).max()


def test_float32_rows_keep_their_bits_and_long_sums_cost_a_rounding():
    """In a float32 state rows that were only parted are equal; a sum of parts differs by a rounding of each part."""
    mine, wide = pair((11, Memorious(0, 1), 7, True))
    assert mine.items != wide.items
    for a, b in zip(on_tensors(mine, torch.float32), on_tensors(wide, torch.float32), strict=True):
        assert torch.equal(a, b)
    mine, wide = pair((1, Memorious(40, 9), 45, False))
    a, b = on_tensors(mine, torch.float32)[0], on_tensors(wide, torch.float32)[0]
    # parts of size up to 8, each rounded to 2^-24 of it, in a recursion that damps by 0.9 a step: ten of them at most
    assert 0.0 < float((a.double() - b.double()).abs().max()) < 10 * 8 * 2.0**-24


def test_sample_runs_what_is_wide():
    """11 blocks, 40 memories of each, 9 draws: through `sample`, equal to the plain arithmetic on the wide plan."""
    mine, wide = pair((11, Memorious(4, 9), 7, False))

    def net(*inputs):
        return torch.tanh(sum(inputs[:-1]))

    start = tuple(noise.normal(SHAPE, seed=1, draw=b, dtype=torch.float64) for b in range(11))
    out = torchdiff.sample(torchdiff.wrap(net, "score"), Many(11), Memorious(4, 9), steps=7, x=start, seed=3)
    assert out.plan == mine
    for a, b in zip(out.state, on_tensors(wide, torch.float64)[:11], strict=True):
        assert (a - b).abs().max() <= 1e-12 * b.abs().max()  # 9 draws in two parts


@pytest.mark.parametrize(("solver", "sde"), MOVERS)
def test_any_plan_can_be_split(solver, sde, monkeypatch):
    """Cut down to one row, two tensors and one draw an item, every plan travels as JSON and gives the same samples.

    To 1e-12: parts of several draws are added up in another order.
    """
    remembered._remembered.cache_clear()  # the limits are no words of a plan
    options = dict(steps=5, shape=SHAPE, seed=3, prediction=prediction_for(sde), dtype=torch.float64, trajectory=True)
    wide = torchdiff.sample(field, sde, solver, **options)
    text = wide.plan.to_json()
    for name, limit in (("ROWS", 1), ("TENSORS", 2), ("DRAWS", 1)):
        monkeypatch.setattr(narrow, name, limit)
    remembered._remembered.cache_clear()
    mine = torchdiff.sample(field, sde, solver, **options)
    remembered._remembered.cache_clear()
    assert (mine.trajectory - wide.trajectory).abs().max() <= 1e-12 * wide.trajectory.abs().max()
    assert len(mine.plan.items) >= len(wide.plan.items)
    assert Plan.from_json(text) == mine.plan == Plan.from_json(mine.plan.to_json())
