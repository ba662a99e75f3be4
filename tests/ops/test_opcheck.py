"""torch's own checker on every op, with arguments drawn at random."""

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_affine import DTYPES, call, calls, laid_out
from torch.library import opcheck

from torchdiff import ops

UTILITIES = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
# torch 2.14's AOT dispatch reads .grad of the op's non-leaf outputs on its own account, and warns about it
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
few = settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])


def copies(t):
    """Whether opcheck can copy t: torch takes 1 + sum (n - 1) stride for the size of its memory, empty or not."""
    return sum((n - 1) * stride for n, stride in zip(t.shape, t.stride(), strict=True)) >= -1


def passes(op, *arguments, **keywords):
    assert opcheck(op, arguments, keywords, test_utils=UTILITIES) == dict.fromkeys(UTILITIES, "SUCCESS")


@few
@given(arguments=calls, grad=st.booleans())
def test_affine(arguments, grad):
    """Schema, autograd registration, fake tensors and AOT dispatch with dynamic shapes: all of opcheck."""
    tensors, *rest = arguments
    assume(all(map(copies, tensors)))
    passes(torch.ops.torchdiff.affine.default, [t.requires_grad_(grad) for t in tensors], *rest)


@few
@given(
    shape=st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple),
    dtypes=st.lists(st.sampled_from(DTYPES), min_size=1, max_size=3),
    outs=st.lists(
        st.tuples(st.sampled_from(("contiguous", "strided")), st.sampled_from(DTYPES)), min_size=1, max_size=3
    ),
    draws=st.integers(0, 2),
)
def test_affine_out(shape, dtypes, outs, draws):
    """The same for the op that writes into given tensors: it mutates these and nothing else."""
    out = [laid_out(torch.zeros(shape, dtype=dtype), place) for place, dtype in outs]
    tensors, *rest = call(shape, dtypes, len(outs), draws)
    assume(all(map(copies, (*tensors, *out))))
    passes(torch.ops.torchdiff.affine.out, tensors, *rest, out=out)


@few
@given(
    shape=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    dtype=st.sampled_from(DTYPES),
    first=st.integers(0, 2**62),
    per_sample=st.booleans(),
)
def test_normal(shape, dtype, first, per_sample):
    """All of opcheck on the noise, by value and into a tensor."""
    seeds, draw = torch.arange(shape[0] if per_sample and shape[0] else 1), torch.tensor([7])
    assume(copies(torch.zeros(shape)))
    passes(torch.ops.torchdiff.normal.default, shape, seeds, first, draw, dtype)
    passes(torch.ops.torchdiff.normal.out, seeds, first, draw, out=torch.zeros(shape, dtype=dtype))


@few
@given(arguments=calls, grad=st.booleans())
def test_norms(arguments, grad):
    """The same for the norms of tensors and draws."""
    tensors, _, *rest = arguments
    assume(all(map(copies, tensors)))
    passes(torch.ops.torchdiff.norms.default, [t.requires_grad_(grad) for t in tensors], *rest)


@few
@given(
    shape=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    dtype=st.sampled_from(DTYPES),
    times=st.lists(st.floats(0, 2), min_size=1, max_size=4),
    integral=st.booleans(),
)
def test_brownian(shape, dtype, times, integral):
    """All of opcheck on increments of a path."""
    ends = torch.tensor(times, dtype=torch.float64)
    passes(torch.ops.torchdiff.brownian.default, shape, torch.tensor([3]), 5, 1, ends, 2.0, integral, dtype)


def test_every_op_is_checked():
    """The namespace holds no public op beside those of this file."""
    known = {f"{op}.default" for op in ("affine", "norms", "normal", "brownian")} | {"affine.out", "normal.out"}
    assert ops.backend() is not None
    found = {
        schema.name.removeprefix("torchdiff::") + "." + (schema.overload_name or "default")
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("torchdiff::") and not schema.name.startswith("torchdiff::_")
    }
    assert found == known
