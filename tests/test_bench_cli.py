"""Laws of `torchdiff bench`: wrong requests cost one line, right ones leave a table, pictures and a report."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from command import flagged, refused

from torchdiff import bench
from torchdiff.cli import main

ROOT = Path(__file__).parents[1]

with contextlib.suppress(ImportError):  # its first import takes seconds, which are not the command's
    from diffusers import DDIMScheduler  # noqa: F401

NET = """
    import torch, torchdiff

    class Linear(torch.nn.Linear):
        def __init__(self): super().__init__(2, 2)
        def forward(self, x, t): return super().forward(x)

    exact = torchdiff.get_target("gmm2d").denoiser("vp")
    def make(): return exact
    def bare(): return exact.net
    def double(): return torchdiff.wrap(Linear().double(), "x0")
    def nothing(): return None
    def nan(): return torchdiff.wrap(lambda x, t: x * float("nan"), "x0")
    def half(): return torchdiff.wrap(lambda x, t: x.where(x.abs() < 8, float("nan")), "x0")
"""
GOOD = {
    "--target": "gmm2d", "--solvers": "ddim,heun", "--calls": "5", "--seeds": "0", "--count": "40",
    "--metrics": "sliced_w2:directions=4", "--out": "out",
}  # fmt: skip
HUGE = "9" * 5000
TEXTS = ["", " ", "nan", "ünïcödé 数", "../../etc/passwd", "x" * 100_000, "a\nb", "-", "::", "((("]
NUMBERS = [*TEXTS, "-1", HUGE, "1e999", "inf", "1_0", "٣", "0x10", "1.5"]
WRONG = {
    "target": [*TEXTS, "-1", "gmm3d", "gmm2d:modes=nan", f"gmm2d:modes={HUGE}"],
    "net": [*TEXTS, "toy_net", "toy_net:", ":make", "../toy_net:make", "-1"],
    "data": [*TEXTS, "-1", "x.npy"],  # it belongs to a net
    "cond": [*TEXTS, "-1", "x.npz"],
    "shape": [*NUMBERS, "4,,8", "4,-8", "99999999,99999999"],
    "prediction": [*TEXTS, "-1"],
    "dtype": [*TEXTS, "-1", "float8", "torch.float32"],
    "sde": [*TEXTS, "-1", "vpp", "vp:beta_0=nan"],
    "solvers": [*TEXTS, "-1", "ddim,", ",", "x_*", "ddim:eta=nan", "sscs", "dpm*:eta=1", "diffusers:", "diffusers:X"],
    "grids": [*TEXTS, "-1", "karras:rho=-1", "default,", "vp"],
    "calls": [*NUMBERS, "0", "5,", "5,,8", "100001", ",".join(["5"] * 1001)],
    "steps": [*NUMBERS, "0", "5"],  # 5: beside --calls
    "seeds": [*NUMBERS, str(2**63), "0,"],
    "count": [*NUMBERS, "0", "1", "10000000"],
    "batch": [*NUMBERS, "0"],
    "metrics": [*TEXTS, "-1", "fid", "sliced_w2,", "sliced_w2:directions=0"],
    "budget": [*NUMBERS[:-1], "0", "1e-9"],
    "out": ["", " ", "../" * 40 + "proc/x", "a\0b", "file", "x" * 5000],
    "device": [*TEXTS, "-1", "gpu", "cuda:99999", "meta"],
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty current folder but for toy_net.py and a file that is no folder."""
    (tmp_path / "toy_net.py").write_text(textwrap.dedent(NET))
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TORCHDIFF_DEBUG", raising=False)
    yield tmp_path
    sys.modules.pop("toy_net", None)


def request(**changes: str | None) -> list[str]:
    """The arguments of a bench that works, with flags changed, added or (None) left out."""
    return flagged("bench", GOOD, changes)


@pytest.mark.parametrize(("flag", "value"), [(flag, value) for flag, values in WRONG.items() for value in values])
def test_a_wrong_value_of_any_flag_is_one_line(place, capsys, flag, value):
    """Empty, huge, negative, nan, unicode, path traversal: exit code 2, no traceback, at once, and no cell made."""
    refused(request(**{flag: value}), capsys)
    assert not list(place.rglob("*.safetensors"))


@pytest.mark.parametrize("flag", WRONG)
def test_a_flag_without_a_value_is_named(place, capsys, flag):
    """A flag at the end of the line that lacks its value."""
    assert f"--{flag}" in refused([*request(), f"--{flag}"], capsys)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": None}, "say what to sample"),
        ({"target": None, "net": "toy_net:make"}, "--data FILE"),
        ({"target": None, "net": "toy_net:nothing", "data": "x.npy"}, "should return a network"),
        ({"target": None, "net": "toy_net:bare", "data": "x.npy"}, "prediction"),
        ({"target": None, "net": "toy_net:make", "data": "flat.npy"}, "expected floats (N, *shape)"),
        ({"target": None, "net": "toy_net:make", "data": "none.npy"}, "cannot be read"),
    ],
)
def test_what_belongs_together_is_said(place, capsys, changes, message):
    """A network needs data of the right shape, and to say what it predicts."""
    np.save(place / "x.npy", np.zeros((200, 2), np.float32))
    np.save(place / "flat.npy", np.zeros(200, np.float32))
    assert message in refused(request(**changes), capsys)


@pytest.mark.parametrize("argv", [["bench", "digit"], ["bench", "digits", "--target", "gmm2d"], ["bench"]])
def test_a_preset_is_one_of_those_there_are(place, capsys, argv):
    """One thing to sample, by a known name."""
    refused(argv, capsys)


def test_a_bench_leaves_table_pictures_and_report(place, capsys):
    """The table and the answer on stdout, where the files are, and the files."""
    assert main(request()) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "real data (floor)" in out
    assert bench.answer(bench.load("out")).headline in out
    for name in ("work.png", "work.svg", "samples.png", "samples.svg", "report.html"):
        assert f"out/{name}" in out
        assert (place / "out" / name).stat().st_size > 1000


def test_json_is_the_file(place, capsys):
    """--json prints the records, a line each, as they stand in the folder."""
    assert main([*request(), "--json"]) == 0
    out, _ = capsys.readouterr()
    assert out == (place / "out" / "cells.jsonl").read_text()
    assert [json.loads(line)["kind"] for line in out.splitlines()] == ["header", "cell", "cell", "versus"]


def test_a_users_network_is_judged_by_users_data(place, capsys):
    """--net and --data: the exact network of gmm2d has the samples that the target's own has."""
    target = bench.run(target="gmm2d", solvers="ddim", calls=5, seeds=0, count=40, metrics="sliced_w2")
    np.save(place / "x.npy", np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32))
    assert main(request(target=None, net="toy_net:make", data="x.npy", solvers="ddim")) == 0
    (mine,) = bench.load("out").samples.values()
    assert mine.equal(next(iter(target.samples.values())))
    assert "--net toy_net:make --data x.npy" in bench.load("out").header["command"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_network_of_a_command_is_converted(place, capsys, dtype):
    """--dtype is of the network too, whatever its weights were made in."""
    np.save(place / "x.npy", np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32))
    assert main(request(target=None, net="toy_net:double", data="x.npy", solvers="ddim", dtype=dtype)) == 0
    capsys.readouterr()
    assert bench.load("out").header["config"]["dtype"] == dtype


@pytest.mark.parametrize("net", ["nan", "half"])
def test_a_network_that_returns_nan_is_told_and_the_rest_goes_on(place, capsys, net):
    """Exit code 1 and one line on stderr; table, pictures and report say which cells failed, all of them if need be."""
    np.save(place / "x.npy", np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32))
    words = {"target": None, "net": f"toy_net:{net}", "data": "x.npy", "solvers": "ddim,euler_maruyama"}
    assert main(request(**words)) == 1
    out, err = capsys.readouterr()
    assert err.startswith("torchdiff: ")
    assert "of 2 cells failed" in err
    assert err.count("\n") == 1
    assert "failed" in out
    assert "failed" in (place / "out" / "report.html").read_text()
    assert {cell["problem"] is None for cell in bench.load("out")} == ({False} if net == "nan" else {True, False})


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_is_one_line_and_keeps_the_cells(place, capsys, monkeypatch, number, code):
    """Ctrl-C and SIGTERM: the exit code of a shell, one line, and the folder goes on to be used."""
    real, cells = bench.work.Work._cell, []

    def slow(self, job):
        if len(cells) == 1:
            threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
            time.sleep(5.0)
        cells.append(job)
        return real(self, job)

    monkeypatch.setattr(bench.work.Work, "_cell", slow)
    before = signal.getsignal(signal.SIGTERM)
    if code == 143:
        with pytest.raises(SystemExit) as stop:
            main(request())
        assert stop.value.code == code
    else:
        assert main(request()) == code
    _, err = capsys.readouterr()
    assert err == "torchdiff: stopped; finished cells are kept in out, the same command goes on there\n"
    assert len(bench.load("out")) == 1
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert main(request()) == 0
    assert len(bench.load("out")) == 2


@pytest.mark.slow
def test_the_demo_in_small(place, capsys):
    """`torchdiff bench digits`: the Frechet distance, images in the grid, and the hundred digits of the README."""
    assert main(["bench", "digits", "--quick", "--count", "70", "--calls", "5,10", "--solvers", "ddim,dpmpp_2m"]) == 0
    out, _ = capsys.readouterr()
    assert "frechet, by" in out
    assert "out/bench/digits.png" in out
    first = (place / "out" / "bench" / "digits.png").read_bytes()
    assert first == (ROOT / "docs" / "digits.png").read_bytes()  # seeds 0 to 99 are what they were
    shown = bench.load("out/bench").samples
    assert {tuple(x.shape) for x in shown.values()} == {(10, 1, 28, 28)}
