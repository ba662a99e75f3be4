"""What of benchmarks/gpu.sh needs no GPU: its arithmetic, its table, and what it says where there is none."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def gpu_table():
    spec = importlib.util.spec_from_file_location("gpu_table", ROOT / "benchmarks" / "gpu_table.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_table"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["gpu_table"]


def test_ratios_are_times_of_the_others_over_ours(gpu_table):
    """Each ratio is another's time over ours, a column that was not measured is a dash, and all lines are as long."""
    lines = [gpu_table.Line("one", 10.0, 40.0, 25.0, 0.5), gpu_table.Line("another case", 2000.0, 100.0, None, 0.25)]
    rows = gpu_table.table(lines).splitlines()
    assert len({len(row) for row in rows}) == 1
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (rows[2], rows[3])]
    assert cells[0] == ["one", "10.0", "40.0", "25.0", "4.00", "2.50", "0.50"]
    assert cells[1] == ["another case", "2000.0", "100.0", "-", "0.05", "-", "0.25"]


def test_both_sides_compute_the_same(gpu_table):
    """Without noise, ours and eager torch return the same sums, up to the float32 rounding of eager's (3 terms)."""
    case = gpu_table.Case("", (2, 12), torch.float32, 3, 0, rows=2)
    torch.manual_seed(0)
    tensors = [torch.randn(case.shape) for _ in range(3)]
    mine, eager = gpu_table.ours(case, tensors, "cpu")(), gpu_table.formula(case, "cpu")(*tensors)
    for a, b in zip(mine, eager, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=6 * 2**-24 * 3 * 4)  # 6 roundings of values below 3 x 4


def test_the_fraction_counts_what_is_read_and_written(gpu_table, monkeypatch):
    """A step that moves its bytes at the bandwidth of a copy gets the fraction 1."""
    monkeypatch.setattr(gpu_table, "timed", lambda *_: 2.0)
    case = gpu_table.Case("", (32, 1000), torch.float16, 2, 1)
    quick = (2 + 1) * 2 * 2 * 500  # bytes: two inputs and one output, halves, a sixteenth of the batch, half the event
    assert gpu_table.measure(case, quick / 2.0, "cpu", True).of_copy == 1.0


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine may have a GPU")
def test_without_a_gpu_one_line_says_so():
    """gpu.sh on a machine without a GPU builds nothing, says so in one line, and does not pass."""
    script = [shutil.which("bash") or "bash", str(ROOT / "benchmarks" / "gpu.sh")]
    done = subprocess.run(script, capture_output=True, text=True, check=False, env=os.environ)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith("no GPU: ")
