"""Memory of freed outputs serves the next ones, and nobody sees the difference."""

import ctypes
import io
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from torchdiff import ops

pytestmark = [
    pytest.mark.usefixtures("keeps"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]
NONE, MIB = torch.empty(0, dtype=torch.int64), 2**20
SOURCE = torch.arange(MIB, dtype=torch.float32)  # 4 MiB: the smallest that is kept


def output(factor=1.0, source=SOURCE):
    return ops.affine([source], torch.tensor([[factor]], dtype=torch.float64), NONE, 0, NONE)[0]


@pytest.fixture
def keeps(extension):
    """Starts with nothing kept; a skip where outputs are torch's own."""
    ops.release_memory()
    output()
    if ops.release_memory() == 0:
        pytest.skip("outputs are torch's own: not Linux, torch before 2.11, or TORCHDIFF_KEEP_MEMORY=0")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_a_freed_output_leaves_its_memory_to_the_next(dtype):
    """Of the same size; while it lives, by itself or by a view of it, the next one lies elsewhere."""
    source = SOURCE.fmod(1024).repeat(2).to(dtype)
    first = output(1.0, source)
    place, view = first.data_ptr(), first[3:7].numpy() if dtype != torch.bfloat16 else first[3:7]
    assert place % 64 == 0
    kept = torch.as_tensor(view).clone()
    del first
    second = output(2.0, source)
    assert second.data_ptr() != place
    assert torch.equal(torch.as_tensor(view), kept)
    del view
    assert output(3.0, source).data_ptr() == place
    assert torch.equal(second, output(2.0, source))


def test_outputs_look_as_torch_s_own():
    """Shape, strides, dtype and values of channels_last, permuted and padded inputs; inference mode; normals."""
    x = torch.randn(2, 8, 256, 258)
    for like in (x, x.to(memory_format=torch.channels_last), x.permute(3, 0, 2, 1), x[..., 1:], x[:, :, :, ::2]):
        like = like if like.numel() * 4 >= 4 * MIB else torch.cat([like, like])[:, :, :, ::2].repeat(2, 1, 1, 1)
        made, wanted = output(0.5, like), torch.empty_like(like)
        assert (made.shape, made.stride(), made.dtype) == (wanted.shape, wanted.stride(), wanted.dtype)
        assert torch.equal(made, 0.5 * like)
    with torch.inference_mode():
        assert output().is_inference()
    seeds, draw = torch.tensor([3]), torch.tensor([7])
    made = ops.normal((3, MIB), seeds, 5, draw, torch.float32)
    given = ops.normal((3, MIB), seeds, 5, draw, torch.float32, out=torch.empty(3, MIB))
    assert made.stride() == given.stride()
    assert torch.equal(made, given)


def test_storages_work_as_those_of_numpy_s_memory():
    """share_memory_, pickle, torch.save, set_ and a smaller resize_ do what they do; a larger resize_ is refused."""
    made, wanted = output(0.5), 0.5 * SOURCE
    place = made.data_ptr()
    assert torch.equal(pickle.loads(pickle.dumps(made)), wanted)
    file = io.BytesIO()
    torch.save(made, file)
    file.seek(0)
    assert torch.equal(torch.load(file), wanted)
    assert torch.empty(0).set_(made).data_ptr() == place
    assert torch.equal(made.clone().resize_(5), wanted[:5])
    with pytest.raises(RuntimeError, match="resiz"):
        output().resize_(2 * MIB)
    made.share_memory_()
    assert output().data_ptr() == place  # it moved, and its block was free
    assert torch.equal(made, wanted)


def test_gradients_and_compiled_code_get_through():
    """Outputs in kept memory are recorded, differentiated and traced as others."""
    x = SOURCE.clone().requires_grad_()
    weights = torch.tensor([[0.5]], dtype=torch.float64)
    ops.affine([x], weights, NONE, 0, NONE)[0].backward(SOURCE)
    assert torch.equal(x.grad, 0.5 * SOURCE)
    step = torch.compile(lambda t: ops.affine([t], weights, NONE, 0, NONE)[0] + 1, backend="aot_eager")
    assert torch.equal(step(SOURCE), 0.5 * SOURCE + 1)


def test_threads_do_not_get_each_other_s_memory():
    """Eight threads that make, check and free outputs at once: each finds its own values."""
    wrong = []

    def work(number):
        torch.set_num_threads(1)
        for turn in range(20):
            factor = float(number * 100 + turn)
            made = output(factor)
            if not torch.equal(made, factor * SOURCE):
                wrong.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_fork_starts_with_nothing_and_disturbs_nobody():
    """Whatever other threads do at that moment, the child is not stuck, keeps nothing, and the parent's values stay."""
    held, stop = output(7.0), threading.Event()
    output(1.0), output(2.0)  # blocks that are kept while the child is born

    def hammer():
        while not stop.is_set():
            ops.release_memory()

    thread = threading.Thread(target=hammer)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
                empty = ops.release_memory() == 0
                right = torch.equal(output(3.0), 3.0 * SOURCE) and torch.equal(held, 7.0 * SOURCE)
                os._exit(0 if empty and right else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()
    assert torch.equal(held, 7.0 * SOURCE)


class Outputs(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return output(float(index))


def test_a_loader_s_workers_send_outputs():
    """Through shared memory, from processes that were forked with blocks at hand."""
    held = output(9.0)
    output(8.0)
    loader = torch.utils.data.DataLoader(Outputs(), batch_size=None, num_workers=1, multiprocessing_context="fork")
    for index, made in enumerate(loader):
        assert torch.equal(made, index * SOURCE)
    assert torch.equal(held, 9.0 * SOURCE)


def resident():
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_system_may_take_all_but_the_last_64_mib():
    """Of 4 blocks of 32 MiB it takes two when it is told to page out all of them; what is written after that stays."""
    source = torch.ones(8 * MIB)
    made = [output(float(k), source) for k in range(1, 5)]  # not 0: of huge pages the system takes zeros anyway
    places = [t.data_ptr() for t in made]
    del made
    before = resident()
    page_out = ctypes.CDLL(None, use_errno=True).madvise
    page_out.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if any(page_out(place, 32 * MIB, 21) for place in places):  # MADV_PAGEOUT
        pytest.skip("needs Linux 5.4, to page out on demand")
    if Path("/proc/swaps").read_text(encoding="ascii").count("\n") > 1:
        pytest.skip("with swap the others are paged out too")
    assert abs(before - resident() - 64 * MIB) < 2 * MIB  # 2 MiB: whatever else happens in the process
    made = [output(float(k), source) for k in range(1, 5)]
    assert {t.data_ptr() for t in made} == set(places)
    assert [bool((t == k).all()) for k, t in enumerate(made, 1)] == [True] * 4


KEEP = """
import torch
from torchdiff import ops
x, none = torch.ones(2**21), torch.empty(0, dtype=torch.int64)
made = [ops.affine([x], torch.ones(1, 1, dtype=torch.float64), none, 0, none)[0] for _ in range(5)]
small = ops.affine([x[:2**20 - 1]], torch.ones(1, 1, dtype=torch.float64), none, 0, none)[0]
owned = [t.untyped_storage().resizable() for t in (made[0], small)]
del made, small
print(ops.release_memory() >> 20, ops.release_memory(), *owned)
"""


@pytest.mark.parametrize(
    ("mebibytes", "said"),
    [("", "40 0 False True"), ("20", "16 0 False True"), ("0", "0 0 True True"), ("some", None), ("-1", None)],
)
def test_as_much_is_kept_as_the_environment_says(mebibytes, said):
    """Five outputs of 8 MiB are freed: all are kept, as many as fit, or none; below 4 MiB memory is torch's own."""
    where = {**os.environ, "TORCHDIFF_KEEP_MEMORY": mebibytes, "PYTHONPATH": str(Path(ops.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", KEEP], capture_output=True, text=True, env=where, check=False)
    if said is None:
        assert f"TORCHDIFF_KEEP_MEMORY is '{mebibytes}'; expected how many MiB" in done.stderr
    else:
        assert done.stdout.strip() == said, done.stderr
