"""The norms of samples and of noise that is never stored: one order of additions, so one set of bits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_affine import DTYPES, call, calls
from torch.library import opcheck

from torchdiff import ops
from torchdiff.ops import reference

# events around the ends of blocks, chunks, ranges and lanes (4, 1024 and 16384 elements), and beyond twice round
EVENTS = [1, 3, 4, 5, 63, 64, 65, 127, 511, 512, 513, 1023, 1024, 1025, 2049, 5000, 16383, 16384, 16385, 40003]


def arguments(*given, **options):
    """Arguments of norms: those of affine without the weights."""
    tensors, _, *rest = call(*given, rows=1, **options)
    return tensors, *rest


@settings(max_examples=150)
@given(drawn=calls)
def test_kernel_equals_reference(drawn):
    """Any shape, layout, mixture of dtypes and per-sample seeds: the op gives the reference's bits."""
    tensors, _, *rest = drawn
    assert torch.equal(ops.norms(tensors, *rest), reference.norms(tensors, *rest))


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernel_equals_reference_at_every_size(event, dtype):
    """So it does for samples that end within a block, a chunk, a range, or go round all lanes more than once."""
    given = arguments((3, event), (dtype, torch.float16), draws=1, layouts=("contiguous", "strided"))
    assert torch.equal(ops.norms(*given), reference.norms(*given))


@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_are_the_roots_of_exact_sums(dtype):
    """Each is the 2-norm in exact arithmetic of the values read and of affine's normals, but for a few roundings."""
    tensors, seeds, first, draws = arguments((3, 5, 2001), (dtype,), draws=2)
    own = torch.float64 if dtype == torch.float64 else torch.float32
    z = [ops.normal((3, 5, 2001), seeds, first, draw.reshape(1), own) for draw in draws]
    found = ops.norms(tensors, seeds, first, draws)
    for column, values in enumerate((*tensors, *z)):
        rows = values.double().reshape(3, -1).tolist()
        exact = [math.sqrt(math.fsum(v * v for v in row)) for row in rows]
        # a square, 2 sums in a block, 1 round the lanes, 12 folds: 16 roundings of a sum, half of each after the root
        np.testing.assert_allclose(found[:, column].numpy(), exact, rtol=(16 / 2 + 2) * 2.0**-53)


def test_large_and_small_values_neither_overflow_nor_vanish():
    """The largest and the smallest float32 have the norms that float64 gives them."""
    for value in (torch.finfo(torch.float32).max, 2.0**-149):
        x = torch.full((2, 4096), value)
        empty = torch.empty(0, dtype=torch.int64)
        assert ops.norms([x], empty, 0, empty).tolist() == [[64.0 * value]] * 2  # powers of two: exact


def test_norms_of_values_that_are_no_numbers():
    """An infinity makes an infinite norm, a nan a nan, of its own sample and column alone."""
    x = torch.ones(3, 700)
    x[1, 699], x[2, 5] = -torch.inf, torch.nan
    empty = torch.empty(0, dtype=torch.int64)
    found = ops.norms([x, torch.ones(3, 700)], empty, 0, empty)
    assert found[:, 0].isinf().tolist() == [False, True, False]
    assert found[:, 0].isnan().tolist() == [False, False, True]
    assert found[:, 1].tolist() == [math.sqrt(700.0)] * 3


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,), (3,), (2, 1), (1, 0, 4)])
def test_degenerate_shapes(shape):
    """An empty sample has the norm 0, of a sample of one element it is the absolute value."""
    tensors, *rest = arguments(shape, (torch.float32,), draws=1)
    found = ops.norms(tensors, *rest)
    assert found.shape == (shape[0], 2)
    if math.prod(shape[1:]) == 1:
        assert torch.equal(found[:, 0], tensors[0].reshape(shape[0]).double().abs())
    else:
        assert not found.any()


def test_more_than_2_31_elements(extension):
    """The norm of n ones is the root of n, also for an n beyond 32 bits; an expanded tensor stands for them."""
    count, empty = 2**31 + 17, torch.empty(0, dtype=torch.int64)
    assert ops.norms([torch.ones(1, 1).expand(1, count)], empty, 0, empty).item() == math.sqrt(count)


@pytest.mark.parametrize("event", [3, 200, 2500, 30001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_threads_do_not_change_bits(event, dtype):
    """1, 2 and 8 threads give the same bits, on short and long samples that are shared out."""
    given = arguments((300_000 // event, event), (dtype,), draws=1)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 8):
            torch.set_num_threads(threads)
            results.append(ops.norms(*given))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@settings(max_examples=30)
@given(cut=st.integers(0, 12), own=st.booleans(), event=st.sampled_from([(5,), (130,), (3, 700), (), (5001,)]))
def test_rows_do_not_depend_on_the_batch(cut, own, event):
    """Any split of the batch gives the same rows, each part starting at its own first_index or seeds."""
    tensors, seeds, first, draws = arguments((12, *event), (torch.float32,) * 2, draws=1, per_sample=(False, own))
    parts = [
        ops.norms([t[rows] for t in tensors], seeds[rows] if own else seeds, first + (0 if own else begin), draws)
        for begin, rows in ((0, slice(0, cut)), (cut, slice(cut, 12)))
    ]
    assert torch.equal(torch.cat(parts), ops.norms(tensors, seeds, first, draws))


def test_every_simd_level_gives_the_same_sums(extension):
    """The squares of blocks, added to lanes: no level rounds another way than the portable loop."""
    g = np.random.default_rng(1)
    for dtype in (np.float32, np.float64):
        values, lanes = g.standard_normal(4 * 203).astype(dtype), g.random(203)
        found = [extension.squares(values, lanes, simd=level) for level in extension.simd_levels()]
        blocks = values.astype(np.float64).reshape(-1, 4) ** 2
        expected = lanes + ((blocks[:, 0] + blocks[:, 1]) + (blocks[:, 2] + blocks[:, 3]))
        assert all((sums == expected).all() for sums in found)


WRONG = [
    ("no tensors", {"tensors": []}, "tensors is empty"),
    ("too many tensors", {"tensors": [torch.zeros(3, 4)] * 33}, "33 tensors; a call takes up to 32"),
    ("scalar", {"tensors": [torch.zeros(())]}, r"tensors\[0\] has no batch"),
    ("other shape", {"tensors": [torch.zeros(3, 4), torch.zeros(3, 5)]}, r"tensors\[1\] has shape \(3, 5\)"),
    ("integers", {"tensors": [torch.zeros(3, 4).int()]}, r"tensors\[0\] has dtype"),
    ("tensor on meta", {"tensors": [torch.zeros(3, 4), torch.zeros(3, 4, device="meta")]}, r"tensors\[1\] is on meta"),
    ("int32 seeds", {"seeds": torch.zeros(1, dtype=torch.int32)}, "seeds has dtype"),
    ("two seeds", {"seeds": torch.zeros(2, dtype=torch.int64)}, r"seeds has shape \(2,\)"),
    ("no seeds", {"seeds": torch.zeros(0, dtype=torch.int64)}, r"seeds has shape \(0,\)"),
    ("seeds on meta", {"seeds": torch.zeros(1, dtype=torch.int64, device="meta")}, "seeds is on meta"),
    ("negative index", {"first_index": -1}, "first_index is -1"),
    ("int32 draws", {"draws": torch.zeros(1, dtype=torch.int32)}, "draws has dtype"),
    ("draws 2-D", {"draws": torch.zeros(1, 1, dtype=torch.int64)}, "draws has 2 dimensions"),
    ("too many draws", {"draws": torch.zeros(9, dtype=torch.int64)}, "9 draws; a call takes up to 8"),
    ("draws on meta", {"draws": torch.zeros(1, dtype=torch.int64, device="meta")}, "draws is on meta"),
    ("beyond the counter", {"tensors": [torch.zeros(3, 1).expand(3, 2**34 + 1)]}, r"noise counter ends at 2\^34"),
]


@pytest.mark.parametrize("op", [ops.norms, reference.norms], ids=["kernel", "reference"])
@pytest.mark.parametrize(("change", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_norms_refuse_by_name(op, change, message):
    """A wrong device, dtype, shape or count raises an error with the argument's name, the same in both languages."""
    one = torch.zeros(1, dtype=torch.int64)
    good = {"tensors": [torch.zeros(3, 4)], "seeds": one, "first_index": 0, "draws": one}
    with pytest.raises((ValueError, RuntimeError), match="norms: .*" + message):
        op(*{**good, **change}.values())


@pytest.mark.parametrize("draws", [0, 1])
def test_gradients_match_finite_differences(draws):
    """gradcheck and gradgradcheck pass in float64, with noise and without."""
    tensors, *rest = arguments((3, 2, 5), (torch.float64,) * 2, draws=draws)
    inputs = [t.requires_grad_() for t in tensors]
    assert torch.autograd.gradcheck(lambda *x: ops.norms(list(x), *rest), inputs)
    assert torch.autograd.gradgradcheck(lambda *x: ops.norms(list(x), *rest), inputs)


def test_gradient_is_the_direction():
    """The derivative of a norm is the unit vector, 0 at 0, in the tensor's dtype; tiny values do not spoil it."""
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [3.0e-42, 4.0e-42]], requires_grad=True)
    y = torch.ones(3, 2, dtype=torch.float16, requires_grad=True)
    empty = torch.empty(0, dtype=torch.int64)
    ops.norms([x, y], empty, 0, empty).sum().backward()
    # 1e-3: what float32 keeps of 3e-42
    torch.testing.assert_close(x.grad, torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.6, 0.8]]), rtol=1e-3, atol=0.0)
    assert torch.equal(y.grad, torch.full((3, 2), math.sqrt(0.5), dtype=torch.float16))


# torch 2.14's AOT dispatch reads .grad of the op's non-leaf outputs on its own account, and warns about it
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [((3, 2, 2), 1), ((3, 5), 0), ((0, 2), 1), ((1,), 1), ((2, 0), 1)])
def test_opcheck_norms(case, dtype):
    """Schema, autograd registration, fake tensors and AOT dispatch with dynamic shapes: all of opcheck."""
    shape, draws = case
    tensors, *rest = arguments(shape, (dtype, dtype), draws=draws)
    given = ([t.requires_grad_() for t in tensors], *rest)
    assert set(opcheck(torch.ops.torchdiff.norms.default, given).values()) == {"SUCCESS"}
