"""Wrong arguments of every kind, straight into the registered ops: an answer or an error, never a crash.

The calls run in a process of their own, so that a crash is a failed test and not a dead test run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import torchdiff

PROGRAM = Path(__file__).with_name("fuzzing.py")


@pytest.mark.parametrize("op", ["affine", "affine_out", "norms", "normal", "normal_out", "brownian"])
@pytest.mark.parametrize("batch", range(2))
def test_wrong_arguments_never_crash(op, batch):
    """Each of 400 drawn calls returns or raises ValueError, RuntimeError, TypeError or what derives from them."""
    run = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(PROGRAM), op, str(batch), "400"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(Path(torchdiff.__file__).parents[1])},
    )
    # the program writes each call before it makes it: the last line is the culprit
    assert run.returncode == 0, f"exit status {run.returncode}\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}"
    kinds = dict(line.split() for line in run.stdout.splitlines()[-1].split(", "))
    # the control: right arguments get through and wrong ones are refused, neither all nor none
    assert int(kinds["returned"]) >= 20
    assert int(kinds["raised"]) >= 80
