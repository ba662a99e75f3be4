"""The CUDA kernels without a GPU: the same source and the same launches, on the CPU, give the CPU kernels' bits."""

import itertools
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_affine import DTYPES, assert_same_bits, call, calls, laid_out

from torchdiff import ops

ROOT = Path(__file__).parents[2]
EXAMPLES = int(os.environ.get("TORCHDIFF_EXAMPLES", "400"))
GRIDS = (0, 1, 3, 40)  # thread blocks: as launched, one, three, more than any of these tests has work for


@settings(max_examples=EXAMPLES, deadline=None)
@given(arguments=calls, blocks=st.sampled_from(GRIDS), last_first=st.booleans())
def test_cuda_kernels_equal_cpu_kernels(on_grid, arguments, blocks, last_first):
    """Any shape, layout, mixture of dtypes, grid and order of threads: the CUDA source gives the CPU op's bits."""
    assert_same_bits(on_grid(blocks, last_first, "affine", *arguments), ops.affine(*arguments))


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    shape=st.lists(st.integers(0, 6), min_size=1, max_size=4).map(tuple) | st.sampled_from([(3, 1024), (2, 1021)]),
    dtype=st.sampled_from(DTYPES),
    per_sample=st.booleans(),
    blocks=st.sampled_from(GRIDS),
    seed=st.integers(0, 2**32),
)
def test_cuda_normal_equals_cpu_normal(on_grid, shape, dtype, per_sample, blocks, seed):
    """Any shape, dtype, seeds and grid: normal() by the CUDA source gives the CPU op's bits."""
    _, _, seeds, first, draw = call(shape, (dtype,), 1, 1, per_sample=(False, per_sample), seed=seed)
    arguments = (shape, seeds, first, draw, dtype)
    assert_same_bits([on_grid(blocks, False, "normal", *arguments)], [ops.normal(*arguments)])


HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64


@pytest.mark.parametrize(
    ("dtypes", "event", "kernels"),
    [
        ((HALF, BRAIN), 8, 4),  # eight elements a thread: with noise or not, one or two rows at once
        ((SINGLE, HALF), 8, 6),  # four: one, two or four rows
        ((HALF, HALF), 12, 6),  # halves whose samples are no whole number of eights
        ((DOUBLE, SINGLE, HALF), 8, 2),
        ((HALF, DOUBLE), 8, 2),
        ((SINGLE, SINGLE), 7, 2),  # a sample ends inside a block
        ((SINGLE, DOUBLE), 7, 2),
    ],
)
def test_every_kernel_equals_the_cpu(shim, dtypes, event, kernels):
    """Every kernel is reached by the calls it is made for, and by no other, and gives the CPU op's bits."""
    shim.kernels_run()
    # samples have weights of their own: without noise they would else be one long sample, of another size
    for rows, draws, inputs in itertools.product(range(1, 9), (0, 1, 3), (len(dtypes), 5)):
        mixed = (*dtypes, *(dtypes[-1:] * (inputs - len(dtypes))))
        arguments = call((5, event), mixed, rows, draws, per_sample=(True, False))
        assert_same_bits(shim.affine(*arguments), ops.affine(*arguments))
    assert shim.kernels_run() == kernels


@pytest.mark.parametrize("shape", [(70, 4), (300, 2), (1000, 1), (129, 8)])
@pytest.mark.parametrize("dtypes", [(SINGLE, SINGLE), (HALF, HALF), (DOUBLE, SINGLE)])
def test_many_small_samples(shim, shape, dtypes):
    """More samples than a CPU chunk or a thread block holds, each with weights and a seed of its own."""
    arguments = call(shape, dtypes, 2, 1, per_sample=(True, True))
    assert_same_bits(shim.affine(*arguments), ops.affine(*arguments))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("event", [7, 8])
def test_special_values(shim, dtype, event):
    """Zeros of both signs, subnormals, inf and nan come out of the CUDA source as of the CPU op."""
    values = [0.0, -0.0, 1.0, -1.0, torch.inf, -torch.inf, torch.nan, torch.finfo(dtype).smallest_normal / 4]
    x = torch.tensor([values, values[::-1]], dtype=dtype)[:, :event].contiguous()
    none = torch.empty(0, dtype=torch.int64)
    for rows in ([[0.0]], [[1.0]], [[-1.0], [-0.0]], [[0.0, -0.0]], [[-1.0, 1.0]]):
        weights = torch.tensor(rows, dtype=torch.float64)
        tensors = [x, x.neg()][: weights.shape[1]]
        assert_same_bits(shim.affine(tensors, weights, none, 0, none), ops.affine(tensors, weights, none, 0, none))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("draws", [0, 2])
def test_addresses_that_are_not_aligned(shim, dtype, draws):
    """A tensor that begins 1 to 7 elements past an aligned address is read element by element, with the same bits."""
    storage = torch.randn(7 + 48, dtype=torch.float64).to(dtype)
    for shift in range(8):
        _, *rest = call((3, 16), (dtype, dtype), 2, draws)
        tensors = [storage[shift : shift + 48].view(3, 16), storage[:48].view(3, 16)]
        assert_same_bits(shim.affine(tensors, *rest), ops.affine(tensors, *rest))


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
@pytest.mark.parametrize("event", [7, 8])
@pytest.mark.parametrize("dtypes", [(SINGLE, HALF), (HALF, BRAIN), (DOUBLE, SINGLE)])
def test_outputs_over_inputs(on_grid, rows, event, dtypes):
    """Written over its own inputs, on a grid of one block, each output is what it is in memory of its own."""
    tensors, *rest = call((9, event), (*dtypes, *dtypes, *dtypes, *dtypes), rows, 2)
    expected = [torch.empty_like(t) for t in tensors[:rows]]
    torch.ops.torchdiff.affine.out(tensors, *rest, out=expected)
    out = [t.clone() for t in tensors[:rows]]
    on_grid(1, True, "affine", [*out, *tensors[rows:]], *rest, out=out)
    assert_same_bits(out, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "offset", "reversed"])
def test_outputs_that_are_given(shim, dtype, layout):
    """affine and normal write into tensors of any dtype and layout what the CPU ops write there."""
    arguments = call((2, 3, 4, 4), (SINGLE, HALF), 1, 1)
    mine, theirs = (laid_out(torch.zeros(2, 3, 4, 4, dtype=dtype), layout) for _ in range(2))
    shim.affine(*arguments, out=[mine])
    torch.ops.torchdiff.affine.out(*arguments, out=[theirs])
    assert_same_bits([mine], [theirs])
    shim.normal(*arguments[2:], out=mine)
    torch.ops.torchdiff.normal.out(*arguments[2:], out=theirs)
    assert_same_bits([mine], [theirs])


def test_more_dimensions_than_a_launch_takes(shim):
    """Eight dimensions that no two tensors step over alike go through contiguous copies."""
    arguments = call((2,) * 8, (SINGLE, SINGLE), 2, 1, layouts=("reversed", "contiguous"))
    assert_same_bits(shim.affine(*arguments), ops.affine(*arguments))


@pytest.mark.parametrize("shape", [(2, 3, 4, 8), (2, 8, 3, 4), (3, 5, 2, 2, 2)])
@pytest.mark.parametrize("layouts", [("channels_last", "channels_last"), ("reversed", "contiguous")])
@pytest.mark.parametrize("draws", [0, 1])
def test_channels_in_the_order_of_memory(on_grid, shape, layouts, draws):
    """Where threads follow the channels instead of the elements, no element is missed and none is another's."""
    arguments = call(shape, (SINGLE, HALF), 2, draws, layouts=layouts)
    assert_same_bits(on_grid(1, False, "affine", *arguments), ops.affine(*arguments))


def test_neighbouring_threads_take_neighbouring_addresses(shim):
    """channels_last, 32 channels: the threads of a warp begin at 32 neighbours, the next warp four pixels further."""
    x = torch.empty(2, 32, 4, 4).contiguous(memory_format=torch.channels_last)
    _, weights, seeds, _, draws = call((2, 32, 4, 4), (SINGLE,), 1, 1)
    assert shim.order(x, weights, seeds, draws, 64) == [*range(32), *range(4 * 32, 4 * 32 + 32)]
    assert shim.order(x.contiguous(), weights, seeds, draws, 64) == list(range(0, 256, 4))


@settings(max_examples=10 * EXAMPLES, deadline=None)
@given(n=st.integers(0, 2**63 - 1), by=st.integers(1, 2**63 - 1) | st.integers(0, 62).map(lambda k: 2**k))
def test_division_by_multiplication_is_exact(shim, n, by):
    """n / d, rounded down, for all of 63 bits, and where n is next to a multiple of d."""
    for m in (n, n // by * by, max(n // by * by - 1, 0), 2**63 - 1):
        assert shim.divide(m, by) == m // by


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 2**12) | st.integers(1, 5), min_size=1, max_size=5),
    order=st.randoms(use_true_random=False),
    at=st.floats(0, 1, exclude_max=True),
)
def test_offsets_beyond_32_bits(shim, sizes, order, at):
    """The walk over four neighbours finds sum_d index_d * stride_d, for tensors of up to 2^60 elements in any order."""
    strides, step = [0] * len(sizes), 1
    for d in order.sample(range(len(sizes)), len(sizes)):
        strides[d] = step
        step *= sizes[d]
    tensor = torch.empty_strided(sizes, strides, device="meta")
    total = math.prod(sizes)
    first = int(at * total)
    expected = []
    for element in range(first, min(first + 4, total)):
        offset = 0
        for size, stride in zip(reversed(sizes), reversed(strides), strict=True):
            element, index = divmod(element, size)
            offset += index * stride
        expected.append(offset)
    assert shim.offsets(tensor, first) == expected


@pytest.mark.skipif("TORCHDIFF_SANITIZE" in os.environ, reason="this run is the sanitized one")
def test_kernels_touch_only_their_tensors(shim):
    """ASAN and UBSAN find nothing in these tests: no access outside a tensor, none misaligned, no signed overflow."""
    gcc = shutil.which("gcc") or "gcc"
    libraries = [subprocess.run([gcc, f"-print-file-name=lib{name}.so"], capture_output=True, text=True, check=True)
                 for name in ("asan", "ubsan")]  # fmt: skip
    preload = [found.stdout.strip() for found in libraries]
    if not all(Path(path).is_file() for path in preload):
        pytest.skip(f"gcc has no sanitizer libraries: {preload}")
    environment = {**os.environ, "TORCHDIFF_SANITIZE": "1", "TORCHDIFF_EXAMPLES": "15"}
    tool = [sys.executable, str(ROOT / "tools" / "cuda_shim.py")]
    subprocess.run(tool, env=environment, check=True, capture_output=True)  # not under the sanitizer: gcc would be too
    # torch keeps what it allocates, and Python its arenas: no leaks are looked for
    environment |= {"LD_PRELOAD": " ".join(preload), "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", __file__, "-q", "-x", "--capture=sys", "-p", "no:cacheprovider"],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "passed" in done.stdout
