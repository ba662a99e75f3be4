"""The short way through a run gives what the op gives, and what it cannot take goes through the op."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from instances import MOVERS, field, prediction_for
from torch.overrides import TorchFunctionMode

import torchdiff
from torchdiff import ops
from torchdiff import run as runs
from torchdiff.errors import NonFiniteError
from torchdiff.inputs import Place
from torchdiff.program import Program


class Watching(TorchFunctionMode):
    """A mode that changes nothing: under it every run goes through the ops."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


@pytest.fixture
def short(monkeypatch):
    """How many items of a run took the short way; a skip where there is no compiled code."""
    if ops.backend().name != "extension":
        pytest.skip("compiled code only")
    taken = []
    combine = Program.combine

    def counted(self, index, tensors):
        rows = combine(self, index, tensors)
        taken.append(rows is not None)
        return rows

    monkeypatch.setattr(Program, "combine", counted)
    return taken


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("solver", "sde"), MOVERS)
def test_short_way_has_the_bits_of_the_op(solver, sde, dtype, short):
    """Every solver on every SDE and in every dtype: with and without a mode that sends all through the op."""
    options = dict(steps=4, shape=(3, 5), seed=[1, 2, 3], prediction=prediction_for(sde), dtype=dtype)
    options["on_nonfinite"] = "ignore"  # float16 overflows where VE starts
    mine = torchdiff.sample(field, sde, solver, **options)
    affine = [item for item in mine.plan.items if hasattr(item, "weights") and item.weights]
    assert short.count(True) == len(affine)
    short.clear()
    with Watching():
        theirs = torchdiff.sample(field, sde, solver, **options)
    assert short == []
    for a, b in zip(mine.state, theirs.state, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


ODD = {
    "strided": lambda x: torch.stack([x, x + 1], dim=-1)[..., 0],
    "expanded": lambda x: x[:1].expand(x.shape),
    "negative view": lambda x: torch._neg_view(-x),
    "parameter": lambda x: torch.nn.Parameter(x.clone()),
    "other dtype": lambda x: x.double(),
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("kind", ODD)
def test_outputs_that_are_not_plain_are_read_as_they_look(kind, short):
    """A network that returns a view, a parameter or another dtype gets the samples that its values give."""

    def net(x, t):
        return torch.tanh(x)

    options = dict(steps=5, shape=(2, 3, 4, 4), seed=1, prediction="eps")
    odd = torchdiff.sample(lambda x, t: ODD[kind](net(x, t)), "vp", "ddpm", **options)
    plain = torchdiff.sample(lambda x, t: ODD[kind](net(x, t)).contiguous().resolve_neg(), "vp", "ddpm", **options)
    assert torch.equal(odd.x, plain.x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 17, 5000, 8191])
def test_one_value_that_is_not_finite_is_found(dtype, value, place, short):
    """Anywhere in an output, in any dtype; the largest finite values, whose sum overflows, are none."""

    def net(x, t):
        out = torch.full_like(x, torch.finfo(dtype).max)
        if float(t[0]) < 0.5:
            out.view(-1)[place] = value
        return out

    options = dict(steps=6, shape=(2, 4096), seed=1, prediction="score", dtype=dtype, grid="uniform", final="t_min")
    with pytest.raises(NonFiniteError, match=r"in step 4, .*sample " + str(place // 4096)):
        torchdiff.sample(net, "vp", "ddim", **options)


def test_recording_runs_take_the_op(short):
    """With grad=True nothing goes by addresses: the graph would miss it."""
    x = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    out = torchdiff.sample(field, "vp", "ddim", steps=3, x=x, prediction="eps", grad=True)
    assert short == []
    assert torch.autograd.grad(out.x.sum(), x)[0].abs().sum() > 0


def test_plans_are_remembered_by_value_only(monkeypatch):
    """The same words plan once; other options, a user's own classes and functions of the level plan anew."""
    traced = []
    from torchdiff import planner, remembered

    trace = planner.trace
    monkeypatch.setattr(planner, "trace", lambda *a, **k: traced.append(a) or trace(*a, **k))
    remembered._remembered.cache_clear()

    def count(**changed):
        before = len(traced)
        options = {"sde": "vp", "solver": "ddim:eta=0.5", "steps": 3, "prediction": "eps", **changed}
        net = changed.pop("net", field)
        if not isinstance(net, torchdiff.Denoiser):
            net = torchdiff.wrap(net, options["prediction"])
        sde, solver = options.pop("sde"), options.pop("solver")
        options.pop("net", None)
        torchdiff.sample(net, sde, solver, shape=(2, 3), seed=0, **options)
        return len(traced) - before

    assert [count(), count(), count(sde=torchdiff.VP()), count(solver="ddim:eta=0.5")] == [1, 0, 0, 0]
    changes = [{"steps": 4}, {"solver": "ddim"}, {"grid": "quadratic"}, {"t_min": 0.01}, {"prediction": "v"}]
    assert [count(**change) for change in changes] == [1] * len(changes)
    assert [count(steps=None, times=iter([1.0, 0.5, 0.1])), count(steps=None, times=[1.0, 0.5, 0.1])] == [1, 0]
    assert [count(steps=None, sigmas=iter([9.0, 1.0, 0.1])), count(steps=None, sigmas=[9.0, 1.0, 0.1])] == [1, 0]

    class Mine(torchdiff.VP):
        pass

    scaled = torchdiff.wrap(field, "eps", input_scale=lambda level: 0.5)
    assert [count(sde=Mine()), count(sde=Mine()), count(net=scaled), count(net=scaled)] == [1] * 4
    with pytest.raises(ValueError, match="steps must be a positive whole number"):
        count(steps=True)


def test_programs_of_two_runs_do_not_meet(short):
    """A run has a program of its own: another seed, shape and plan in between changes nothing."""
    plan = torchdiff.plan("vp", "ddpm", steps=3)
    place = Place((2, 3), torch.float32, torch.device("cpu"))
    other = Place((4, 7), torch.float32, torch.device("cpu"))
    net = torchdiff.wrap(field, "eps")
    with torch.no_grad():
        first = runs.Run(plan, net, torch.tensor([1]), 0, place, "raise")
        second = runs.Run(plan, net, torch.tensor([2]), 5, other, "raise")
        alone = runs.Run(plan, net, torch.tensor([1]), 0, place, "raise")
        x = torch.ones(2, 3)
        before = first.execute((x,), None)[0]
        second.execute((torch.ones(4, 7),), None)
        assert torch.equal(alone.execute((x,), None)[0], before)


WATCH = """
import sys, torch, torchdiff
from torchdiff.errors import NonFiniteError
for solver in ("ddim", "ddpm", "dpmpp_2m"):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for place in (0, 63, 64, 4100, 4164):
            for value in (float("nan"), float("inf"), -float("inf")):
                calls = []
                def net(x, t):
                    calls.append(t)
                    out = torch.ones_like(x)
                    if len(calls) == 3:
                        out.view(-1)[place] = value
                    return out
                try:
                    torchdiff.sample(net, "vp", solver, steps=5, shape=(5, 833), seed=1, prediction="eps", dtype=dtype)
                except NonFiniteError as error:
                    fine = "in step 2" in str(error) and f"sample {place // 833} first" in str(error)
                    assert fine and len(calls) == 3, (solver, dtype, place, value, error)
                else:
                    raise AssertionError((solver, dtype, place, value))
"""


@pytest.mark.parametrize("level", ["portable", "avx2", "avx512"])
def test_every_level_watches_the_network(level, short):
    """The loops of a level, with noise and without, whole groups and rests, find one value; the network rests then."""
    from torchdiff import _C

    if level not in _C.simd_levels():
        pytest.skip(f"this machine does not run {level}")
    where = {**os.environ, "TORCHDIFF_SIMD": level, "PYTHONPATH": str(Path(torchdiff.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", WATCH], capture_output=True, text=True, env=where, check=False)
    assert done.returncode == 0, done.stderr


def test_finite_outputs_are_not_read_again(short, monkeypatch):
    """Neither by the guard nor by the program: the rows that read them have seen that they are finite."""
    looked = []
    monkeypatch.setattr(Program, "finite", lambda self, x: looked.append(x))
    monkeypatch.setattr("torchdiff.guard.Guard.look", lambda *a: looked.append(a))
    for solver in ("ddim", "ddpm", "dpmpp_2m", "heun"):
        torchdiff.sample(field, "vp", solver, steps=3, shape=(2, 3), seed=1, prediction="eps")
    assert looked == []
