"""Laws of a bench's dtype: state, network and conditions have it, whoever runs; metrics stay float64."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

import torchdiff
from torchdiff import bench
from torchdiff.bench.question import DTYPES
from torchdiff.errors import NetworkError, OptionError

DATA = torchdiff.get_target("gmm2d").sample(200, seed=3).float()
EXACT = torchdiff.get_target("gmm2d").denoiser(torchdiff.get_sde("vp"))
SMALL = {"calls": 4, "seeds": 0, "count": 60, "metrics": "sliced_w2:directions=4"}
PEERS = ("ddim", "heun", "diffusers:DPMSolverMultistepScheduler", "azula:DDIMSampler")


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_work_in_the_dtype_that_was_asked_for(dtype, tmp_path):
    """What the network gets, its conditions, and the samples that are kept; the title, where it is not the default."""
    for library in ("diffusers", "azula"):
        pytest.importorskip(library)
    wanted, seen = getattr(torch, dtype), set()

    def net(x, t, a):
        seen.update((x.dtype, a.dtype))
        return EXACT.net(x, t)

    words = {"data": DATA, "cond": {"a": DATA.double()}, "solvers": PEERS, "out": tmp_path, "dtype": dtype}
    cells = bench.run(net=net, prediction="v", **SMALL | words)
    assert seen == {wanted}
    kept = [load_file(path)["x"].dtype for path in (tmp_path / "samples").iterdir()]
    assert kept == [wanted] * len(PEERS)
    assert all(cell["problem"] is None for cell in cells)
    assert (f" in {dtype}:" in bench.table(cells)) == (dtype != "float32") == (f"--dtype {dtype}" in _command(cells))
    with pytest.raises(OptionError, match="config dtype"):
        bench.run(net=net, prediction="v", **SMALL | words | {"dtype": next(d for d in DTYPES if d != dtype)})


def _command(cells: bench.Cells) -> str:
    return cells.header["command"]


def test_rounding_is_that_of_the_dtype():
    """float16 and bfloat16 are off from float64 by their own rounding, no less and not much more."""
    run = lambda d: next(iter(bench.run(target="gmm2d", solvers="ddim", dtype=d, **SMALL).samples.values()))  # noqa: E731
    for dtype in ("float16", "bfloat16"):  # what is shown is float32
        error = float((run(dtype) - run(torch.float64)).abs().max())
        # of values to 4 a rounding is half of eps at least; in 4 steps of a smooth map it grows 50 times at most
        assert 0.5 < error / torch.finfo(getattr(torch, dtype)).eps < 100.0


def test_a_module_of_another_dtype_is_told_how(tmp_path):
    """Nobody converts a user's module behind their back: the error names both dtypes and the wrap that converts."""
    net = torch.nn.Bilinear(2, 1, 2).requires_grad_(False)
    ask = lambda x, t: net(x, t[:, None])  # noqa: E731
    module = torch.nn.ModuleDict({"net": net})
    module.forward = ask
    words = SMALL | {"data": DATA, "solvers": "ddim", "dtype": "float64"}
    with pytest.raises(NetworkError, match=r"float32, its input is torch.float64; wrap it with dtype=torch.float32"):
        bench.run(net=module, prediction="x0", **words)
    assert bench.run(net=torchdiff.wrap(module, "x0", dtype=torch.float32), **words)[0]["problem"] is None


def test_the_preset_is_converted():
    """The shipped network in bfloat16."""
    cells = bench.run("digits", solvers="ddim", calls=2, seeds=0, count=20, dtype=torch.bfloat16)
    assert cells[0]["problem"] is None
    assert cells.header["config"]["dtype"] == "bfloat16"


@pytest.mark.parametrize("dtype", ["float8", "int32", torch.int64, 7, ""])
def test_another_dtype_is_refused(dtype):
    """The four that a state may have are named."""
    with pytest.raises(OptionError, match="dtype is one of float32, float64, float16, bfloat16"):
        bench.run(target="gmm2d", solvers="ddim", dtype=dtype, **SMALL)
