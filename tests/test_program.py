"""The short way through a run gives what the op gives, and what it cannot take goes through the op."""

import os
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
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
from torchdiff.registry import SOLVERS


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
    walk = Program.walk

    def counting(function):
        def counted(*arguments):
            made = function(*arguments)
            # (state, ...) or rows; None, or None in the place of the state, where it is left to the op
            taken.append(made is not None and made[0] is not None)
            return made

        return counted

    def counted_walk(self, *arguments, **options):
        step, move, rows, times = walk(self, *arguments, **options)
        return counting(step), counting(move), counting(rows), times

    monkeypatch.setattr(Program, "walk", counted_walk)
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

    names = [name for name in SOLVERS if type(SOLVERS.get(name)).__module__.startswith("torchdiff.")]
    assert [name for name in names if not remembered._by_value(SOLVERS.get(name))] == []
    assert [count(solver="dpmpp_2m"), count(solver="dpmpp_2m")] == [1, 0]  # a solver with a field that is False

    class Mine(torchdiff.VP):
        pass

    scaled = torchdiff.wrap(field, "eps", input_scale=lambda level: 0.5)
    assert [count(sde=Mine()), count(sde=Mine()), count(net=scaled), count(net=scaled)] == [1] * 4
    with pytest.raises(ValueError, match="steps must be a positive whole number"):
        count(steps=True)


@pytest.fixture(params=["small", "large"])
def sized(request, monkeypatch, short):
    """Rows in torch's memory, and rows of states that count as large, in kept memory."""
    from torchdiff import _C

    if request.param == "large":
        monkeypatch.setattr(_C, "kept_least", 0)


@pytest.mark.parametrize(
    ("solver", "sde", "dtype"),
    [(*mover, torch.float32) for mover in MOVERS]
    + [(*mover, dtype) for dtype in (torch.float64, torch.bfloat16) for mover in MOVERS if mover[1] == "vp"],
)
def test_rows_over_states_have_the_same_bits(solver, sde, dtype, short, monkeypatch):
    """Whatever a solver keeps and reads again, no row is written over it, nor over the caller's x."""
    options = dict(steps=6, shape=(3, 35), seed=[1, 2, 3], prediction=prediction_for(sde), dtype=dtype)
    options["on_nonfinite"] = "ignore"
    mine, walk = torchdiff.sample(field, sde, solver, **options), Program.walk
    monkeypatch.setattr(Program, "walk", lambda self, labels, rewrite: walk(self, labels, rewrite=False))
    theirs = torchdiff.sample(field, sde, solver, **options)
    for a, b in zip(mine.state, theirs.state, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def seen_by(keep, solver="ddim", which=0, **options):
    """What `keep` makes of each input of a network, x or t, its place, and a copy of its values."""
    seen = []

    def net(*inputs):
        seen.append((keep(inputs[which]), inputs[which].data_ptr(), inputs[which].clone()))
        return torch.tanh(inputs[0])

    torchdiff.sample(net, "vp", solver, steps=6, shape=(2, 3, 8), seed=1, prediction="eps", **options)
    return seen


KEEPERS = {
    "itself": lambda x: x,
    "view": lambda x: x[1:],
    "detached": lambda x: x.detach(),
    "numpy": lambda x: x.numpy(),
    "storage": lambda x: x.untyped_storage(),
    "dlpack": torch.from_dlpack,
    "graph": lambda x: torch.enable_grad()(lambda: x.requires_grad_().square().sum())(),
}


@pytest.mark.parametrize("which", [0, 1], ids=["x", "t"])
@pytest.mark.parametrize("keeper", KEEPERS)
def test_what_a_network_keeps_of_its_inputs_stays(keeper, which, sized):
    """The tensor, a view, its memory or a graph: while anything holds an input, nothing is written there."""
    seen = seen_by(KEEPERS[keeper], which=which)
    assert len({place for _, place, _ in seen}) == len(seen)
    for kept, _, copy in seen:
        if keeper == "graph":
            (gradient,) = torch.autograd.grad(kept, kept.grad_fn.next_functions[0][0].next_functions[0][0].variable)
            assert torch.equal(gradient, 2 * copy)
        elif keeper == "storage":
            assert torch.equal(torch.empty(0).set_(kept), copy.flatten())
        else:
            assert torch.equal(torch.as_tensor(kept), copy[1:] if keeper == "view" else copy)


@pytest.mark.parametrize("which", [0, 1], ids=["x", "t"])
def test_what_a_graph_saves_of_the_inputs_stays(which, sized):
    """A network that trains while it samples: its graph holds its inputs where no Python object does."""
    weight, seen = torch.ones(2, 3, 8, requires_grad=True), []

    def net(*inputs):
        value = inputs[which] if which == 0 else inputs[which].view(-1, 1, 1)
        with torch.enable_grad():
            seen.append(((weight * value).sum(), value.clone()))
        return torch.tanh(inputs[0])

    torchdiff.sample(net, "vp", "ddim", steps=4, shape=(2, 3, 8), seed=1, prediction="eps")
    for loss, value in seen:
        (gradient,) = torch.autograd.grad(loss, weight)
        assert torch.equal(gradient, value.expand(2, 3, 8))


@pytest.mark.parametrize("which", [0, 1], ids=["x", "t"])
@pytest.mark.parametrize("mark", ["attribute", "requires_grad", "weak reference"])
def test_an_input_arrives_as_a_new_tensor(mark, which, sized):
    """What a network hangs on an input is not there at the next call; a weak reference never finds another one."""
    known = []

    def net(*inputs):
        given = inputs[which]
        assert all(reference() is not given for reference in known)
        assert not hasattr(given, "mark")
        assert not given.requires_grad
        if mark == "attribute":
            given.mark = 1
        elif mark == "requires_grad":
            given.requires_grad_()
        else:
            known.append(weakref.ref(given))
        return torch.tanh(inputs[0].detach())

    mine = torchdiff.sample(net, "vp", "ddim", steps=6, shape=(2, 3), seed=1, prediction="eps")
    other = torchdiff.sample(lambda x, t: torch.tanh(x), "vp", "ddim", steps=6, shape=(2, 3), seed=1, prediction="eps")
    assert torch.equal(mine.x, other.x)


@pytest.mark.parametrize("change", [lambda t: t.mul_(1000), lambda t: t.unsqueeze_(1), lambda t: t.share_memory_()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_times_are_told_anew_at_each_call(change, dtype, short):
    """The time of each level in float32 at least, whatever the network did to the tensor that it had before."""
    times = []

    def net(x, t):
        times.append((t.clone(), t.is_contiguous(), t.is_shared(), t.data_ptr() % 64))
        change(t)
        return torch.tanh(x)

    out = torchdiff.sample(net, "vp", "dpmpp_2m", steps=6, shape=(3, 5), seed=1, prediction="eps", dtype=dtype)
    wide = torch.float64 if dtype is torch.float64 else torch.float32
    wanted = [item.at.t for item in out.plan.items if item.at is not None]
    for (t, contiguous, shared, offset), level in zip(times, wanted, strict=True):
        assert torch.equal(t, torch.full((3,), level, dtype=wide))
        assert (contiguous, shared, offset) == (True, False, 0)


def test_shared_memory_stays_with_who_shared_it(sized):
    """An input that moved into shared memory, where another process may read, is not written over."""
    places = []

    def net(x, t):
        places.append(x.share_memory_().data_ptr())
        return torch.tanh(x)

    mine = torchdiff.sample(net, "vp", "ddim", steps=4, shape=(2, 3), seed=1, prediction="eps")
    assert not mine.x.is_shared()
    other = torchdiff.sample(lambda x, t: torch.tanh(x), "vp", "ddim", steps=4, shape=(2, 3), seed=1, prediction="eps")
    assert torch.equal(mine.x, other.x)


@pytest.mark.parametrize(("solver", "most"), [("ddim", 2), ("ddpm", 2), ("dpmpp_2m", 2)])
def test_a_state_that_nobody_holds_is_written_over(solver, most, sized):
    """The states of a run lie in the start's memory and in one more; with a callback, or kept, each in its own."""
    assert len({place for _, place, _ in seen_by(lambda x: None, solver)}) <= most
    states = []
    watched = seen_by(lambda x: None, solver, callback=lambda step, level, x: states.append(x))
    assert len({place for _, place, _ in watched}) == len(watched)


def test_the_caller_s_tensors_stay(sized):
    """The start that was given and the buffer that a network returns each time keep their values."""
    start, buffer = torch.randn(2, 3), torch.randn(2, 3)
    copies = start.clone(), buffer.clone()
    torchdiff.sample(lambda x, t: buffer, "vp", "dpmpp_2m", steps=5, x=start, prediction="eps")
    assert torch.equal(start, copies[0])
    assert torch.equal(buffer, copies[1])


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


@pytest.mark.parametrize(
    "error", [ValueError("mine"), StopIteration(3), KeyError("k"), RuntimeError("r"), IndexError(1)]
)
def test_errors_of_the_network_pass(error, short):
    """The very exception that the network raised, not wrapped in another one."""

    def net(x, t):
        raise error

    with pytest.raises(type(error)) as caught:
        torchdiff.sample(net, "vp", "ddim", steps=3, shape=(2, 3), seed=1, prediction="eps")
    assert caught.value is error
    assert error.__cause__ is None


def test_runs_at_the_same_time_do_not_meet(short):
    """Four threads on one remembered plan, each with a seed of its own, give what each gives alone."""

    def run(seed):
        return torchdiff.sample(field, "vp", "ddpm", steps=40, shape=(2, 3), seed=seed, prediction="eps").x

    alone = [run(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert all(map(torch.equal, pool.map(run, range(4)), alone))


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
