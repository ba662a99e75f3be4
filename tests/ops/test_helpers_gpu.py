"""On a GPU: norms and Brownian increments give the CPU's bits. TORCHDIFF_STAND_IN=cpu tries the tests without one."""

import pytest
import torch
from hypothesis import given, settings
from test_affine import calls
from test_affine_gpu import DEVICE, GPU, STAND_IN, all_there
from test_brownian import calls as brownian_calls
from test_brownian import same_bits

from torchdiff import ops

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not (GPU or STAND_IN), reason="torch finds no CUDA device")]


@settings(max_examples=150, deadline=None)
@given(arguments=calls)
def test_gpu_norms_are_cpu_norms(arguments):
    """Any shape, layout, mixture of dtypes, draws and seeds: the CPU op's bits."""
    tensors, _, *rest = arguments
    moved, _, *others = all_there(arguments)
    assert torch.equal(ops.norms(moved, *others).cpu(), ops.norms(tensors, *rest))


@settings(max_examples=60, deadline=None)
@given(arguments=brownian_calls())
def test_gpu_increments_are_cpu_increments(arguments):
    """Any shape, times, path and seeds: the CPU op's bits, with the times on the CPU for both."""
    shape, seeds, *rest = arguments
    found = ops.brownian(shape, seeds.to(DEVICE), *rest)
    assert same_bits([t.cpu() for t in found], ops.brownian(*arguments))
