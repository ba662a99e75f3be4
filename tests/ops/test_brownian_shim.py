"""The CUDA kernel of brownian without a GPU: the same source and the same launches, on the CPU."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_brownian import calls, same_bits

from torchdiff import ops


@settings(max_examples=100)
@given(arguments=calls(), blocks=st.sampled_from((0, 1, 3, 40)), last_first=st.booleans())
def test_cuda_brownian_equals_cpu_brownian(on_grid, arguments, blocks, last_first):
    """Any shape, times, path and seeds, any grid and order of threads: the CUDA source gives the CPU op's bits."""
    assert same_bits(on_grid(blocks, last_first, "brownian", *arguments), ops.brownian(*arguments))


@pytest.mark.parametrize("count", [257, 258, 600])
def test_more_times_than_one_launch_takes(shim, count):
    """600 times, which CUDA takes in three launches, give the bits of the CPU's one walk."""
    times = torch.linspace(0, 1, count, dtype=torch.float64)
    arguments = ([2, 5], torch.tensor([3]), 0, 1, times, 1.0, True, torch.float32)
    assert same_bits(shim.brownian(*arguments), ops.brownian(*arguments))
