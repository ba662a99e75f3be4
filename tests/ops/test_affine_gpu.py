"""On a GPU: the CUDA ops give the CPU's bits, read what stands in memory, on the stream and the device that are theirs.

TORCHDIFF_STAND_IN=cpu runs those of them that call nothing of torch.cuda on the CPU, to try the tests themselves.
"""

import itertools
import os

import pytest
import torch
from hypothesis import given, settings
from test_affine import DTYPES, assert_same_bits, call, calls

import torchdiff
from torchdiff import ops
from torchdiff.execute import execute

STAND_IN = os.environ.get("TORCHDIFF_STAND_IN")
DEVICE = STAND_IN or "cuda"
GPU = torch.cuda.is_available()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not (GPU or STAND_IN), reason="torch finds no CUDA device")]
needs_cuda = pytest.mark.skipif(not GPU, reason="torch finds no CUDA device that could be asked for this")


def there(tensor):
    """The tensor on the device with its strides and its place in its storage, so with its alignment too."""
    storage = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
    return storage.to(DEVICE).as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def all_there(arguments):
    tensors, weights, seeds, first, draws = arguments
    return [there(t) for t in tensors], weights.to(DEVICE), seeds.to(DEVICE), first, draws.to(DEVICE)


def assert_same_as_cpu(arguments):
    assert_same_bits([t.cpu() for t in ops.affine(*all_there(arguments))], ops.affine(*arguments))


def test_the_kernels_are_compiled():
    """The extension serves the device: nothing below is the reference in plain torch."""
    assert DEVICE in ops.backend().devices


@settings(max_examples=300, deadline=None)
@given(arguments=calls)
def test_gpu_bits_are_cpu_bits(arguments):
    """Any shape, layout, mixture of dtypes, rows, draws, per-sample weights and seeds: the CPU op's bits."""
    assert_same_as_cpu(arguments)


HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
MIXTURES = [(HALF, BRAIN), (SINGLE, HALF), (BRAIN, SINGLE), (DOUBLE, SINGLE, HALF), (HALF, DOUBLE), (SINGLE, SINGLE)]


@pytest.mark.parametrize("dtypes", MIXTURES, ids=str)
@pytest.mark.parametrize("event", [7, 8, 12, 3 * 64 * 64])
def test_every_kernel_gives_cpu_bits(dtypes, event):
    """One to eight rows, with noise and without, on paths of 16 bytes and element by element."""
    for rows, draws in itertools.product((1, 2, 3, 8), (0, 1, 3)):
        assert_same_as_cpu(call((5, event), dtypes, rows, draws, per_sample=(True, False)))


@pytest.mark.parametrize("rows", [1, 2, 8])
@pytest.mark.parametrize("event", [7, 2**16])
def test_outputs_over_inputs_are_cpu_bits(rows, event):
    """Written over its own inputs, each output is what the CPU op writes into memory of its own."""
    tensors, *rest = call((9, event), (SINGLE, HALF) * 4, rows, 1)
    expected = [torch.empty_like(t) for t in tensors[:rows]]
    torch.ops.torchdiff.affine.out(tensors, *rest, out=expected)
    moved, *others = all_there((tensors, *rest))
    torch.ops.torchdiff.affine.out(moved, *others, out=moved[:rows])
    assert_same_bits([t.cpu() for t in moved[:rows]], expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1021), (4, 3, 32, 32), (3, 0), (700,)])
@pytest.mark.parametrize("per_sample", [False, True])
def test_normals_are_cpu_normals(dtype, shape, per_sample):
    """normal() on the GPU gives the CPU op's bits."""
    _, _, seeds, first, draw = call(shape, (dtype,), 1, 1, per_sample=(False, per_sample))
    mine = ops.normal(shape, seeds.to(DEVICE), first, draw.to(DEVICE), dtype).cpu()
    assert_same_bits([mine], [ops.normal(shape, seeds, first, draw, dtype)])


def half_tensor(*shape):
    if GPU and torch.cuda.mem_get_info()[0] < 12 * 2**30:
        pytest.skip("needs 12 GiB of free GPU memory")
    torch.manual_seed(0)
    scale = 1 if GPU else 2**12  # the stand-in tries the arithmetic of the test, not of the kernel
    return torch.empty(shape[0] // scale, *shape[1:], dtype=HALF, device=DEVICE).normal_()


@pytest.mark.slow
@pytest.mark.parametrize(("samples", "event"), [(2**28 + 3, 8), (429496733, 5)])  # 429496733 * 5 = 2^31 + 17
def test_samples_beyond_two_to_the_31_elements(samples, event):
    """10000 positions of more than 2^31: sample i is what the CPU op gives for it alone, at first_index + i."""
    x = half_tensor(samples, event)
    weights, seeds, draws = torch.tensor([[0.75, 0.5]], dtype=DOUBLE), torch.tensor([2**40 + 1]), torch.tensor([9])
    (output,) = ops.affine([x], weights.to(DEVICE), seeds.to(DEVICE), 5, draws.to(DEVICE))
    picked = torch.randint(len(x), (10000 // event - 2,)).tolist()
    where = torch.tensor([0, *picked, len(x) - 1])
    rows, found = x[where.to(DEVICE)].cpu(), output[where.to(DEVICE)].cpu()
    for i, row, mine in zip(where.tolist(), rows, found, strict=True):
        assert_same_bits([mine[None]], ops.affine([row[None]], weights, seeds, 5 + i, draws))


@pytest.mark.slow
def test_one_sample_beyond_two_to_the_31_elements(extension):
    """10000 positions of one sample of 2^31 + 17: weights times x and times the normal of the position's own block."""
    x = half_tensor(2**31 + 17)[None]
    weights, seeds, draws = torch.tensor([[0.75, 0.5]], dtype=DOUBLE), torch.tensor([2**40 + 1]), torch.tensor([9])
    (output,) = ops.affine([x], weights.to(DEVICE), seeds.to(DEVICE), 5, draws.to(DEVICE))
    count = x.shape[1]
    where = torch.cat([torch.tensor([0, count - 1]), torch.randint(count, (9998,))])
    picked, found = x[0, where.to(DEVICE)].cpu(), output[0, where.to(DEVICE)].cpu()
    blocks = [extension.normals32(2**40 + 1, 5, 9, first_block=p // 4, blocks=1)[p % 4] for p in where.tolist()]
    z = torch.tensor([float(normal) for normal in blocks], dtype=DOUBLE)
    # float64 holds this sum of a half and a float32 exactly: it is rounded as the kernel's last fma rounds it
    assert_same_bits([found], [(0.75 * picked.double() + 0.5 * z).float().to(HALF)])


def tables(plan):
    """Weights and draw numbers of each item on the device."""
    return [
        (
            torch.tensor([[*row, *new] for row, new in zip(s.weights, s.noise, strict=True)], dtype=DOUBLE).to(DEVICE),
            torch.tensor(s.draws, dtype=torch.int64).to(DEVICE),
        )
        for s in plan.items
    ]


def sampler(plan, table, seeds):
    """x -> the plan's answer; the network halves its input, which every device does alike."""

    def combine(index, step, tensors):
        return ops.affine(tensors, table[index][0], seeds, 3, table[index][1])

    def run(x):
        (answer,) = execute(plan, [x], lambda inputs, step, state: [0.5 * inputs[0]], combine, lambda *_: None)
        return answer

    return run


def make_plan(t_max=1.0):
    return torchdiff.plan("vp", "ddpm", steps=6, grid="uniform", t_max=t_max, final="t_min")


def test_a_sampler_gives_cpu_bits():
    """A whole run of a plan on the GPU ends at the CPU's bits."""
    plan, x, seeds = make_plan(), torch.linspace(-3, 3, 4 * 192).view(4, 192), torch.tensor([7])
    mine = sampler(plan, tables(plan), seeds.to(DEVICE))(x.to(DEVICE)).cpu()
    table = [(weights.cpu(), draws.cpu()) for weights, draws in tables(plan)]
    assert_same_bits([mine], [sampler(plan, table, seeds)(x)])


@needs_cuda
def test_a_graph_reads_what_stands_in_memory():
    """A captured sampler, replayed after x, seeds, weights and draws changed in place, gives what a fresh run gives."""
    plan, other = make_plan(), make_plan(t_max=0.9)
    table, x, seeds = tables(plan), torch.randn(4, 192, device=DEVICE), torch.tensor([7], device=DEVICE)
    run = sampler(plan, table, seeds)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        run(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answer = run(x)
    x.copy_(torch.linspace(-3, 3, x.numel()).view_as(x))
    seeds.fill_(2**50 + 3)
    for (weights, draws), (others, _) in zip(table, tables(other), strict=True):
        weights.copy_(others)
        draws.add_(2**33)
    graph.replay()
    assert_same_bits([answer], [run(x)])
    cpu = sampler(other, [(weights.cpu(), draws.cpu()) for weights, draws in table], seeds.cpu())
    assert_same_bits([answer.cpu()], [cpu(x.cpu())])


@needs_cuda
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_a_step_allocates_its_outputs_and_waits_for_nothing():
    """After a warm-up a step allocates its outputs and no more, and never waits for the device."""
    arguments = all_there(call((16, 3, 32, 32), (SINGLE, HALF), rows=2, draws=1))
    ops.affine(*arguments)
    torch.cuda.synchronize()
    before = torch.cuda.memory_stats()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(50):
            outputs = ops.affine(*arguments)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    after = torch.cuda.memory_stats()
    assert after["allocation.all.allocated"] - before["allocation.all.allocated"] == 50 * len(outputs)
    assert after["num_alloc_retries"] == before["num_alloc_retries"]
    # the second iteration holds two sets of outputs at once, so one more segment may be reserved, and never a third
    assert after["segment.all.allocated"] - before["segment.all.allocated"] <= len(outputs)


@needs_cuda
def test_the_current_stream_is_used():
    """On a side stream, behind a long wait and a fill, the op reads the filled values."""
    x = torch.zeros(1, 4096, device=DEVICE)
    none, one = torch.empty(0, dtype=torch.int64, device=DEVICE), torch.ones(1, 1, dtype=DOUBLE, device=DEVICE)
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(100_000_000)  # cycles: some 50 ms
        x.fill_(3.0)
        (output,) = ops.affine([x], one, none, 0, none)
    side.synchronize()
    assert bool((output == 3.0).all())


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_the_device_of_the_tensors_is_used():
    """With device 0 current, tensors on device 1 are worked on there, and device 0 stays current."""
    arguments = call((3, 64), (SINGLE, SINGLE), 2, 1)
    with torch.cuda.device(0):
        tensors, weights, seeds, first, draws = arguments
        moved = [t.to("cuda:1") for t in tensors], weights.to("cuda:1"), seeds.to("cuda:1"), first, draws.to("cuda:1")
        outputs = ops.affine(*moved)
        assert torch.cuda.current_device() == 0
    assert_same_bits([t.cpu() for t in outputs], ops.affine(*arguments))


def test_opcheck_on_the_device():
    """Schema, fake tensor and tracing agree with what the kernel does."""
    torch.library.opcheck(
        torch.ops.torchdiff.affine.default,
        all_there(call((2, 5), (SINGLE, HALF), 2, 1)),
        test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_dynamic"),
    )
