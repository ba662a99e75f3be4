"""The CUDA kernels of norms without a GPU: the same source and the same launches, on the CPU."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_affine import DTYPES, call, calls
from test_norms import EVENTS

from torchdiff import ops


@settings(max_examples=200)
@given(drawn=calls, blocks=st.sampled_from((0, 1, 3, 40)), last_first=st.booleans())
def test_cuda_norms_equal_cpu_norms(on_grid, drawn, blocks, last_first):
    """Any shape, layout, mixture of dtypes, grid and order of threads: the CUDA source gives the CPU op's bits."""
    tensors, _, *rest = drawn
    assert torch.equal(on_grid(blocks, last_first, "norms", tensors, *rest), ops.norms(tensors, *rest))


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_norms_at_every_size(on_grid, event, dtype):
    """So it does where a sample ends within a block, a range, or goes round all lanes more than once."""
    tensors, _, *rest = call((2, event), (dtype, torch.float16), 1, 2, layouts=("contiguous", "strided"))
    assert torch.equal(on_grid(3, True, "norms", tensors, *rest), ops.norms(tensors, *rest))
