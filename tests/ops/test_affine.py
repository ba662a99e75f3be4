"""The fused op: its kernel equals the reference and the formula, bit for bit, however it is run."""

import itertools
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchdiff import ops
from torchdiff.ops import reference

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
LAYOUTS = ("contiguous", "channels_last", "strided", "expanded", "offset", "transposed", "reversed")


def laid_out(values, layout):
    """`values` in another memory layout, the same where a layout does not exist for the shape."""
    if layout == "channels_last" and values.dim() == 4:
        return values.contiguous(memory_format=torch.channels_last)
    if layout == "strided" and values.dim() > 1:
        return torch.stack([values, values + 1], dim=-1)[..., 0]
    if layout == "expanded":
        return values[..., :1].expand(values.shape) if values.dim() > 1 and values.shape[-1] > 0 else values
    if layout == "offset":  # one element past the start of its storage: not aligned to any vector
        return torch.cat([values.new_zeros(1), values.flatten()])[1:].view(values.shape)
    if layout == "transposed" and values.dim() > 2:
        return values.transpose(1, -1).contiguous().transpose(1, -1)
    if layout == "reversed":  # every stride order turned round, the batch innermost
        return values.permute(*reversed(range(values.dim()))).contiguous().permute(*reversed(range(values.dim())))
    return values


def assert_same_bits(mine, theirs):
    """Equal shapes, dtypes, strides and values; nan equals nan, and -0 does not equal 0."""
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        assert (a.shape, a.dtype, a.stride()) == (b.shape, b.dtype, b.stride())
        same = (a == b) & (a.signbit() == b.signbit()) | a.isnan() & b.isnan()
        assert same.all()


def call(shape, dtypes, rows, draws, layouts=(), per_sample=(False, False), seed=0):
    """Arguments of affine drawn from a generator of their own."""
    g = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(shape, generator=g, dtype=torch.float64).to(dtype) for dtype in dtypes]
    tensors = [laid_out(t, layout) for t, layout in zip(tensors, layouts, strict=True)] if layouts else tensors
    columns = len(tensors) + draws
    weights = torch.randn((*shape[: per_sample[0]], rows, columns), generator=g, dtype=torch.float64)
    seeds = torch.randint(-(2**63), 2**63 - 1, (shape[0] if per_sample[1] else 1,), generator=g)
    numbers = torch.randint(-(2**63), 2**63 - 1, (draws,), generator=g)
    first = int(torch.randint(2**62, (), generator=g))
    return tensors, weights, seeds, first, numbers


calls = st.builds(
    call,
    shape=st.lists(st.integers(0, 6), min_size=1, max_size=5).map(tuple)
    | st.sampled_from([(1, 1021), (3, 4, 8, 8), (300, 2), (700,), (2, 2, 3, 2, 3, 2), (1, 1, 1)]),
    dtypes=st.shared(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=4), key="dtypes"),
    layouts=st.shared(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=4), key="dtypes").flatmap(
        lambda dtypes: st.lists(st.sampled_from(LAYOUTS), min_size=len(dtypes), max_size=len(dtypes))
    ),
    rows=st.integers(1, 5),
    draws=st.integers(0, 3),
    per_sample=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 2**32),
)


@settings(max_examples=150, deadline=None)
@given(arguments=calls)
def test_kernel_equals_reference(arguments):
    """Any shape, layout, mixture of dtypes, per-sample weights and seeds: the op gives the reference's bits."""
    assert_same_bits(ops.affine(*arguments), reference.affine(*arguments))


@pytest.mark.parametrize("dtype", DTYPES)
def test_affine_is_its_formula(dtype):
    """out[r] = sum_j w[r, j] x_j + sum_q w[r, n + q] z_q: the exact sum of the values read, but for its roundings.

    The last operation rounds the result, each before it a partial sum without column 0 or the low part of a weight.
    """
    tensors, weights, seeds, first, draws = call((3, 5, 7), (dtype, dtype), rows=2, draws=2)
    outputs = ops.affine(tensors, weights, seeds, first, draws)
    wide = dtype == torch.float64
    own = torch.float64 if wide else torch.float32
    z = [ops.normal((3, 5, 7), seeds, first, draws[q : q + 1], own) for q in (0, 1)]
    values = [t.double().numpy().astype(np.longdouble) for t in (*tensors, *z)]
    unit = torch.finfo(own).eps / 2
    final = max(unit, torch.finfo(dtype).eps / 2)
    for row, output in zip(weights.tolist(), outputs, strict=True):
        terms = [np.longdouble(w) * v for w, v in zip(row, values, strict=True)]
        exact = sum(terms)
        # 5 roundings of partial sums at most, in float64 that of the largest term too; halves round once more
        partial = sum(np.abs(term) for term in (terms if wide else terms[1:]))
        bound = (1 + unit) * final * np.abs(exact) + 5 * unit * partial + 2 * unit**2 * np.abs(terms[0])
        bound += torch.finfo(dtype).smallest_normal * final * 2  # of subnormal halves
        assert (np.abs(output.double().numpy() - exact) <= bound + (unit * np.abs(exact) if final > unit else 0)).all()


def test_low_parts_of_weights_count():
    """A weight that float32 cannot hold acts with its second part: the result is the exact one, rounded once."""
    weight = 1 + 2.0**-25 + 2.0**-27
    x = torch.randn(1, 1000, generator=torch.Generator().manual_seed(1))
    empty = torch.empty(0, dtype=torch.int64)
    (output,) = ops.affine([x], torch.tensor([[weight]], dtype=torch.float64), empty, 0, empty)
    assert torch.equal(output, (x.double() * weight).float())
    assert not torch.equal(output, x)  # what the high part alone gives


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_in_the_kernel_is_the_noise_outside(dtype):
    """With x = 0 and weights (1, 1) the op returns exactly what normal() returns."""
    seeds, draws = torch.tensor([11]), torch.tensor([2**35 + 3])
    x = torch.zeros(4, 3, 5, dtype=dtype)
    (output,) = ops.affine([x], torch.ones(1, 2, dtype=torch.float64), seeds, 9, draws)
    assert_same_bits([output], [ops.normal((4, 3, 5), seeds, 9, draws, dtype)])


def test_layout_of_the_first_tensor_is_kept():
    """A channels_last state stays channels_last, and its values do not depend on that."""
    arguments = call((2, 3, 4, 4), (torch.float32,) * 2, rows=1, draws=1, layouts=("channels_last", "contiguous"))
    (output,) = ops.affine(*arguments)
    assert output.is_contiguous(memory_format=torch.channels_last)
    (plain,) = ops.affine([t.contiguous() for t in arguments[0]], *arguments[1:])
    assert torch.equal(output, plain)


@settings(max_examples=30, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 12), max_size=4),
    per_sample=st.tuples(st.booleans(), st.booleans()),
    event=st.sampled_from([(5,), (4,), (3, 3), ()]),
)
def test_rows_do_not_depend_on_the_batch(cuts, per_sample, event):
    """Any split of the batch into parts gives the same rows, each part starting at its own first_index."""
    tensors, weights, seeds, first, draws = call((12, *event), (torch.float32,) * 2, 2, 2, per_sample=per_sample)
    whole = ops.affine(tensors, weights, seeds, first, draws)
    edges = [0, *sorted(cuts), 12]
    parts = []
    for begin, end in itertools.pairwise(edges):
        rows = slice(begin, end)
        part_weights = weights[rows] if per_sample[0] else weights
        part_seeds = seeds[rows] if per_sample[1] else seeds
        part_first = first if per_sample[1] else first + begin
        parts.append(ops.affine([t[rows] for t in tensors], part_weights, part_seeds, part_first, draws))
    assert_same_bits([torch.cat(column) for column in zip(*parts, strict=True)], whole)


def test_order_of_samples_does_not_matter():
    """Permuting the samples with their seeds and weights permutes the outputs."""
    tensors, weights, seeds, first, draws = call((9, 7), (torch.float32,) * 2, 2, 1, per_sample=(True, True))
    order = torch.tensor([3, 1, 8, 0, 2, 7, 5, 6, 4])
    permuted = ops.affine([t[order] for t in tensors], weights[order], seeds[order], first, draws)
    assert_same_bits(permuted, [out[order] for out in ops.affine(tensors, weights, seeds, first, draws)])


def test_threads_do_not_change_bits():
    """1, 2 and 8 threads give the same bits, on a tensor large enough to be shared out."""
    arguments = call((5, 30001), (torch.float32,) * 2, rows=2, draws=1)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 8):
            torch.set_num_threads(threads)
            results.append(ops.affine(*arguments))
    finally:
        torch.set_num_threads(before)
    assert_same_bits(results[0], results[1])
    assert_same_bits(results[0], results[2])


def test_concurrent_calls_equal_serial_calls():
    """Two Python threads that sample at once get what each gets alone."""
    work = [call((3, 2000), (torch.float32,) * 2, rows=2, draws=1, seed=s) for s in (1, 2)]
    expected = [ops.affine(*arguments) for arguments in work]
    results = [[], []]

    def run(i):
        results[i].extend(ops.affine(*work[i]) for _ in range(20))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for found, alone in zip(results, expected, strict=True):
        assert len(found) == 20
        for outputs in found:
            assert_same_bits(outputs, alone)


def test_special_values_follow_arithmetic():
    """Weights of exactly zero still read: 0 * inf is nan; what is not finite stays so, subnormals are not flushed."""
    x = torch.tensor([[torch.inf, -1.0, 2.0**-149, -torch.inf, torch.nan]])
    empty = torch.empty(0, dtype=torch.int64)
    (zero,) = ops.affine([x], torch.zeros(1, 1, dtype=torch.float64), empty, 0, empty)
    assert zero.isnan().tolist() == [[True, False, False, True, True]]
    (one,) = ops.affine([x], torch.ones(1, 1, dtype=torch.float64), empty, 0, empty)
    assert one.isfinite().tolist() == [[False, True, True, False, False]]
    assert torch.equal(one[:, 1:3], x[:, 1:3])


def test_negative_views_are_read_as_they_look():
    """A lazily negated view enters with its negated values."""
    x = torch._neg_view(torch.tensor([[1.0, -2.0]]))
    (output,) = ops.affine([x], torch.ones(1, 1, dtype=torch.float64), torch.empty(0).long(), 0, torch.empty(0).long())
    assert output.tolist() == [[-1.0, 2.0]]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,), (1,), (3,), (2, 1), (1, 0, 4)])
def test_degenerate_shapes(shape):
    """Empty batches, empty samples and samples of one element have defined results."""
    outputs = ops.affine(*call(shape, (torch.float32,), rows=2, draws=1))
    assert [tuple(out.shape) for out in outputs] == [shape, shape]
    assert all(out.isfinite().all() for out in outputs)
