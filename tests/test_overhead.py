"""What a step costs beside the network, counted in calls of torch: numbers that no busy machine can blur."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import torchdiff

SHAPE = (2, 3)


class Calls(TorchDispatchMode):
    """Counts the ops that reach torch's dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count[func.name()] += 1
        return func(*args, **(kwargs or {}))


def count(solver: str, steps: int, **options) -> Counter[str]:
    with Calls() as calls:
        torchdiff.sample(
            lambda x, t: x.neg(), "vp", solver, steps=steps, shape=SHAPE, prediction="eps", seed=0, **options
        )
    return calls.count


LOOK = {"aten::neg": 1, "aten::sum": 1, "aten::_local_scalar_dense": 1}  # the network, and the look at its output


@pytest.mark.parametrize(
    ("solver", "options", "wanted"),
    [
        ("ddim", {}, {"torchdiff::affine": 1, **LOOK}),
        ("ddpm", {}, {"torchdiff::affine": 1, **LOOK}),
        ("dpmpp_2m", {}, {"torchdiff::affine": 1, **LOOK}),
        ("heun", {}, {name: 2 for name in ("torchdiff::affine", *LOOK)}),
        ("ddim", {"on_nonfinite": "ignore"}, {"torchdiff::affine": 1, "aten::neg": 1}),
        ("ddim", {"trajectory": True}, {"torchdiff::affine": 1, "aten::clone": 1, **LOOK}),
    ],
)
def test_a_step_is_one_affine_and_one_look(solver, options, wanted):
    """Ten steps more are ten times these calls: no temporary, no copy, no tensor of times or weights a step."""
    more = count(solver, 30, **options) - count(solver, 20, **options)
    assert more == Counter({name: 10 * number for name, number in wanted.items()})


def test_an_overflowing_sum_is_no_alarm():
    """Finite outputs whose float32 sum is infinite are looked at exactly, and pass; an infinity among them does not."""
    big = torch.full((2, 4), 3e38)
    net = torchdiff.wrap(lambda x, t: big, "eps")
    out = torchdiff.sample(net, "vp", "ddim", steps=2, shape=(2, 4), seed=0, dtype=torch.float64)
    assert bool(out.finite.all())
    big[1, 2] = torch.inf
    out = torchdiff.sample(net, "vp", "ddim", steps=2, shape=(2, 4), seed=0, dtype=torch.float64, on_nonfinite="mark")
    assert out.finite.tolist() == [True, False]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_opposite_infinities_do_not_cancel(dtype):
    """The sum of inf and -inf is nan, and is caught."""

    def net(x, t):
        out = torch.zeros_like(x)
        out[1, 0], out[1, 1] = torch.inf, -torch.inf
        return out

    out = torchdiff.sample(
        net, "vp", "ddim", steps=2, shape=(2, 4), prediction="eps", seed=0, dtype=dtype, on_nonfinite="mark"
    )
    assert out.finite.tolist() == [True, False]
