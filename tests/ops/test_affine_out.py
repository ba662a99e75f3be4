"""affine and normal written into given tensors: the same bits, wherever they are put, and no silent overlap."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_affine import DTYPES, assert_same_bits, call, laid_out

from torchdiff import ops
from torchdiff.ops import reference

PLACES = ("contiguous", "channels_last", "strided", "offset", "transposed", "reversed")


@settings(max_examples=80)
@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=5).map(tuple) | st.sampled_from([(3, 4, 8, 8), (700,)]),
    dtypes=st.lists(st.sampled_from(DTYPES), min_size=1, max_size=3),
    places=st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(DTYPES)), min_size=1, max_size=4),
    draws=st.integers(0, 2),
    per_sample=st.tuples(st.booleans(), st.booleans()),
)
def test_out_takes_the_rows(shape, dtypes, places, draws, per_sample):
    """Any dtypes and strides: the kernel equals the reference, and the bits of affine where the dtype is the same."""
    arguments = call(shape, dtypes, len(places), draws, per_sample=per_sample)
    mine = [laid_out(torch.zeros(shape, dtype=dtype), place) for place, dtype in places]
    theirs = [laid_out(torch.zeros(shape, dtype=dtype), place) for place, dtype in places]
    assert ops.affine(*arguments, out=mine) == mine
    reference.affine_out(*arguments, out=theirs)
    assert_same_bits(mine, theirs)
    for out, row in zip(mine, ops.affine(*arguments), strict=True):
        if out.dtype == row.dtype:
            assert_same_bits(*([torch.empty(shape, dtype=t.dtype).copy_(t)] for t in (out, row)))


@pytest.mark.parametrize("shape", [(3, 7), (2, 3, 4, 5), (5, 30_001)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_out_may_be_an_input(shape, dtype):
    """x and y exchanged in place by their own rows: no row reads what another has written."""
    tensors, *rest = call(shape, (dtype,) * 3, rows=3, draws=1)
    wanted = ops.affine(tensors, *rest)
    x, y, z = tensors
    ops.affine(tensors, *rest, out=[y, z, x])
    assert_same_bits([y, z, x], wanted)


@pytest.mark.parametrize(("numel", "dtype", "draws"), [(3_000_001, torch.float32, 1), (6_000_003, torch.bfloat16, 0)])
def test_fresh_memory_takes_the_rows(numel, dtype, draws):
    """Outputs so large that no allocator keeps them, their pages brought piece by piece: the bits of a given out."""
    tensors, *rest = call((3, numel), (dtype,) * 2, rows=2, draws=draws)
    given = [torch.full((3, numel), torch.nan, dtype=dtype) for _ in range(2)]
    ops.affine(tensors, *rest, out=given)
    assert_same_bits(ops.affine(tensors, *rest), given)


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_out_is_normal(dtype):
    """The same bits in any layout."""
    seeds, draw = torch.tensor([4]), torch.tensor([9])
    wanted = ops.normal((2, 3, 4, 5), seeds, 1, draw, dtype)
    for place in PLACES:
        out = laid_out(torch.zeros(2, 3, 4, 5, dtype=dtype), place)
        assert ops.normal((2, 3, 4, 5), seeds, 1, draw, dtype, out=out) is out
        assert torch.equal(out, wanted)


X = torch.zeros(3, 4)
BIG = torch.zeros(64)
WRONG = [
    ("too few", lambda: [X.clone()], "out holds 1 tensors; weights have 2 rows"),
    ("other shape", lambda: [X.clone(), torch.zeros(3, 5)], r"out\[1\] has shape \(3, 5\)"),
    ("integers", lambda: [X.clone().long(), X.clone()], r"out\[0\] has dtype"),
    ("on meta", lambda: [X.clone(), torch.zeros(3, 4, device="meta")], r"out\[1\] is on meta"),
    ("expanded", lambda: [X.clone(), torch.zeros(3, 1).expand(3, 4)], r"out\[1\] overlaps itself"),
    ("overlapping strides", lambda: [BIG.as_strided((3, 4), (3, 1)), X.clone()], r"out\[0\] overlaps itself"),
    ("twice", lambda: [BIG[:12].view(3, 4), BIG[:12].view(3, 4)], r"out\[1\] shares memory with out\[0\]"),
    ("half an input", lambda: [INPUTS[8:20].view(3, 4), X.clone()], r"out\[0\] shares memory with tensors\[0\]"),
    ("an input turned", lambda: [TURNED, X.clone()], r"out\[0\] shares memory with tensors\[1\]"),
]
INPUTS, SQUARE = torch.zeros(24), torch.zeros(12)
TURNED = SQUARE.as_strided((3, 4), (1, 3))


@pytest.mark.parametrize(("make", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_out_is_refused_by_name(make, message):
    """A tensor that cannot take a row, or that overlaps, is named; nothing has been written by then."""
    tensors, out = [INPUTS[:12].view(3, 4), SQUARE.view(3, 4)], make()
    with pytest.raises((ValueError, RuntimeError), match="affine: " + message):
        ops.affine(tensors, torch.ones(2, 2, dtype=torch.float64), torch.tensor([1]), 0, torch.empty(0).long(), out=out)
    assert all(bool((t == 0).all()) for t in (*tensors, *out) if t.device.type == "cpu")


def test_normal_out_is_refused_by_name():
    """out of another shape or dtype than asked for, or overlapping itself."""
    seeds, draw = torch.tensor([4]), torch.tensor([9])
    for out, message in (
        (torch.zeros(2, 4), r"out has shape \(2, 4\)"),
        (torch.zeros(2, 3).double(), "dtype torch.float64"),
        (torch.zeros(2, 1).expand(2, 3), "out overlaps itself"),
    ):
        with pytest.raises((ValueError, RuntimeError), match="normal: .*" + message):
            ops.normal((2, 3), seeds, 0, draw, torch.float32, out=out)


def test_out_in_compiled_code():
    """One graph, the eager bits, the caller's tensors written to."""
    tensors, *rest = call((3, 4), (torch.float32,) * 2, rows=2, draws=1)

    def step(x, y, out):
        ops.affine([x, y], *rest, out=out)
        return out[0] + 1

    out = [torch.empty(3, 4), torch.empty(3, 4)]
    result = torch.compile(step, backend="aot_eager", fullgraph=True)(*tensors, out)
    assert_same_bits(out, ops.affine(tensors, *rest))
    assert torch.equal(result, out[0] + 1)
