"""One call of compiled code is one item of a plan: the network, the look at its output, the rows."""

import gc
import sys

import pytest
import torch
from torch import Tensor

from torchdiff import ops

SHAPE, NONE = (2, 3), torch.empty(0, dtype=torch.int64)
WEIGHTS = torch.tensor([[0.5, 2.0], [1.0, -1.0]], dtype=torch.float64)  # rows of x and the output
DTYPES = {torch.float16: 5, torch.float32: 6, torch.float64: 7, torch.bfloat16: 15}  # c10::ScalarType


@pytest.fixture
def walk(extension):
    """Makes (step, move, rows, times) of one item: two rows of x and the output, which is kept."""

    def make(dtype=torch.float32, rewrite=True, fresh=torch.empty_like):
        table, wide = extension.Table(), dtype is torch.float64
        table.add(WEIGHTS.flatten().tolist(), 2, (), (0,), (0, 2), (1,), (2,), (0,))
        program = extension.Program(table, SHAPE[0], SHAPE[1], DTYPES[dtype], [7], 0)
        times = torch.empty(SHAPE[0], dtype=torch.float64 if wide else torch.float32)
        made = extension.Walk(program, SHAPE, DTYPES[dtype], times, wide, [0.75], fresh, rewrite)
        return made.entries()

    return make


def state(dtype=torch.float32):
    return torch.randn(SHAPE).to(dtype), torch.randn(SHAPE).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_step_is_the_network_and_the_op(walk, dtype):
    """The rows of the op, the kept output itself, True for finite; the network gets x itself, t and the conditions."""
    now, calls = state(dtype), []

    def net(x, t, **conditions):
        calls.append((x, t.clone(), conditions))
        return torch.tanh(x)

    step, move, rows, _ = walk(dtype)
    moved, fine = step(0, now, net, {"label": 3})
    output = torch.tanh(now[0])
    wanted = ops.affine([now[0], output], WEIGHTS, NONE, 0, NONE)
    assert fine is True
    assert all(map(torch.equal, moved, (*wanted, output)))
    ((x, t, conditions),) = calls
    assert x is now[0]
    assert conditions == {"label": 3}
    assert torch.equal(t, torch.full((2,), 0.75, dtype=torch.float64 if dtype is torch.float64 else torch.float32))
    again, fine = move(0, now, (output,))
    assert fine is True
    assert again[2] is output
    assert all(map(torch.equal, again, moved))
    assert all(map(torch.equal, rows(0, (now[0], output)), wanted))


ODD = {
    "strided": lambda x: torch.randn(3, 2).t(),
    "expanded": lambda x: torch.randn(1, 3).expand(2, 3),
    "negative": lambda x: torch._neg_view(torch.randn(2, 3)),
    "conjugate": lambda x: torch.randn(2, 3, dtype=torch.complex64).conj().imag,
    "zero": lambda x: torch._efficientzerotensor((2, 3)),
    "parameter": lambda x: torch.nn.Parameter(torch.randn(2, 3)),
    "dtype": lambda x: torch.randn(2, 3, dtype=torch.bfloat16),
    "half": lambda x: torch.randn(2, 3).half(),
    "whole numbers": lambda x: torch.ones(2, 3, dtype=torch.int32),
    "shape": lambda x: torch.randn(3, 2),
    "more samples": lambda x: torch.randn(4, 3),
    "dimensions": lambda x: torch.randn(6),
    "sparse": lambda x: torch.randn(2, 3).to_sparse(),
    "meta": lambda x: torch.empty(2, 3, device="meta"),
    "none": lambda x: None,
    "number": lambda x: 3.0,
    "tuple": lambda x: (torch.randn(2, 3),),
    "the input": lambda x: x,
    "an alias of it": lambda x: x.detach(),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_not_plain_is_handed_back(walk, kind):
    """None and the very answer; nothing is read, and no exception is left behind."""
    said = []

    def net(x, t):
        said.append(ODD[kind](x))
        return said[-1]

    step, move, rows, _ = walk()
    now = state()
    moved, answer = step(0, now, net, None)
    assert moved is None
    assert answer is said[0]
    if isinstance(answer, Tensor):
        assert move(0, now, (answer,)) is None
    if "input" not in kind and "alias" not in kind:  # rows leave it to the op only where it is not plain
        assert rows(0, (now[0], answer)) is None


def test_outputs_in_the_memory_of_the_state_are_handed_back(walk):
    """Of a tensor that the rows do not read, too: it is still in use."""
    step, *_ = walk()
    now = state()
    moved, answer = step(0, now, lambda x, t: now[1], None)
    assert moved is None
    assert answer is now[1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_output_that_is_not_finite_comes_back_to_be_looked_at(walk, value):
    output = torch.zeros(SHAPE)
    output[1, 2] = value
    step, move, *_ = walk()
    moved, said = step(0, state(), lambda x, t: output, None)
    assert said is output
    assert not bool(moved[0].isfinite().all())
    assert move(0, state(), (output,))[1] is False


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_writing_into_the_input_is_seen(walk, mode):
    """Where torch counts: tensors of inference mode have no version."""
    step, *_ = walk()
    now = state()
    with mode():
        assert step(0, now, lambda x, t: x.mul_(2).clone(), None) is None
        made, fine = step(0, tuple(x.clone() for x in now), lambda x, t: x.tanh(), None)
    assert fine is True
    assert made[0].is_inference() == (mode is torch.inference_mode)


def test_arguments_that_do_not_fit_raise(walk):
    step, move, rows, times = walk()
    net, now = lambda x, t: x.tanh(), state()
    for call, error in [
        (lambda: step(0, now, net), TypeError),
        (lambda: step(0, list(now), net, None), ValueError),
        (lambda: step(0, (), net, None), ValueError),
        (lambda: step(0, now[:1], net, None), ValueError),
        (lambda: step("0", now, net, None), TypeError),
        (lambda: step(-1, now, net, None), OverflowError),
        (lambda: step(1, now, net, None), RuntimeError),
        (lambda: step(0, now, 3, None), TypeError),
        (lambda: step(0, now, net, {"unknown": 1}), TypeError),
        (lambda: step(0, ("a", "b"), net, None), AttributeError),
        (lambda: move(0, now, [now[0]]), TypeError),
        (lambda: move(0, now, ()), ValueError),
        (lambda: rows(0, now[:1]), ValueError),
        (lambda: times(1), RuntimeError),
    ]:
        with pytest.raises(error):
            call()
    with pytest.raises(MemoryError):
        walk(fresh=lambda x: (_ for _ in ()).throw(MemoryError()))[1](0, now, (torch.ones(SHAPE),))


def tensors():
    gc.collect()
    return sum(type(thing) is Tensor for thing in gc.get_objects())


OUTPUT, ERROR, NAN = torch.ones(SHAPE), ValueError("no"), torch.full(SHAPE, float("nan"))
NETWORKS = {
    "plain": lambda x, t, label: OUTPUT,
    "new": lambda x, t, label: x.clone(),
    "not plain": lambda x, t, label: None,
    "not finite": lambda x, t, label: NAN,
    "writes": lambda x, t, label: x.add_(0.0),
    "raises": lambda x, t, label: {}["no"],
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_no_reference_is_lost_or_kept(walk, kind):
    """After many steps, whatever the network does, all counts are what they were."""
    step, move, rows, _ = walk()
    net, now, conditions = NETWORKS[kind], state(), {"label": 1}
    things = (net, conditions, OUTPUT, NAN, *now, None, True)

    def run(times):
        here = now
        for _ in range(times):
            try:
                met = step(0, here, net, conditions)
            except KeyError:
                continue
            if met is not None and met[0] is not None:
                here = met[0][:2]
            move(0, now, (OUTPUT,))
            rows(0, (now[0], OUTPUT))

    def counts():
        return [sys.getrefcount(thing) for thing in things]

    run(10)
    alive, before = tensors(), counts()  # in this order: what other tests left behind is collected first
    run(20000)
    left, after = tensors(), counts()
    *moved, none, true = map(int.__sub__, after, before)
    assert moved == [0] * len(moved)
    assert abs(none) < 1000  # the interpreter's own use, which is not once in 20000 steps
    assert abs(true) < 1000
    assert left == alive
