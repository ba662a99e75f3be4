"""Laws of a bench's folder: a cell is there whole or not at all, and is made once."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import torchdiff
from torchdiff import bench, storage
from torchdiff.bench.cells import parse
from torchdiff.bench.lock import only
from torchdiff.errors import OptionError, StorageError

SMALL = {"target": "gmm2d", "count": 40, "metrics": "sliced_w2:directions=4", "solvers": "ddim,dpmpp_2m,heun"}
WISH = SMALL | {"calls": (5, 9), "seeds": (0, 1)}


def text(folder: Path) -> str:
    """cells.jsonl without what may differ between two runs."""
    records = parse((folder / "cells.jsonl").read_text(encoding="utf-8"), "cells.jsonl")
    return "\n".join(json.dumps({k: v for k, v in r.items() if k != "timing"}) for r in records)


def lines(folder: Path) -> list[str]:
    return (folder / "cells.jsonl").read_text(encoding="utf-8").splitlines()


class Broken(Exception):
    """What a network of a test raises."""


def network(last: int):
    """The exact network of gmm2d, failing after so many calls; and the list of them."""
    exact, calls = torchdiff.get_target("gmm2d").denoiser(torchdiff.get_sde("vp")).net, []

    def net(x, t):
        calls.append(len(x))
        if len(calls) > last:
            raise Broken
        return exact(x, t)

    return torchdiff.wrap(net, "v"), calls


DATA = {"data": torchdiff.get_target("gmm2d").sample(200, seed=3).float(), "target": None}


def test_a_run_that_broke_goes_on_where_it_was(tmp_path):
    """What was finished is not made again, and in the end the file is that of a run that nothing happened to."""
    net, calls = network(last=40)
    with pytest.raises(Broken):
        bench.run(net=net, out=tmp_path / "a", **WISH | DATA)
    kept = lines(tmp_path / "a")
    assert len(kept) > 2
    net, calls = network(last=10**6)
    done = bench.run(net=net, out=tmp_path / "a", **WISH | DATA)
    assert lines(tmp_path / "a")[1 : len(kept)] == kept[1:]  # times included: they are the same cells
    spent = sum(c["calls"] for c in done[len(kept) - 1 :])
    assert (
        spent <= len(calls) <= spent + 3 * 4
    )  # and a run of one step a contender to get warm: 2 to 3 calls, one twice
    bench.run(net=network(last=10**6)[0], out=tmp_path / "b", **WISH | DATA)
    assert text(tmp_path / "a") == text(tmp_path / "b")


def test_a_finished_bench_calls_no_network(tmp_path):
    """The same question again is read from the file."""
    first = bench.run(out=tmp_path, **WISH)
    before = lines(tmp_path)
    again = bench.run(out=tmp_path, **WISH)
    assert lines(tmp_path) == before
    assert again.cells == first.cells
    assert again.versus == first.versus
    assert again.samples.keys() == first.samples.keys()
    assert bench.table(bench.load(tmp_path)) == bench.table(first)


def test_a_budget_is_kept_and_the_rest_is_made_later(tmp_path):
    """0.3 s of a network of 20 ms a call: some cells now, the others in the next run, the same numbers in the end."""
    import time

    exact = network(last=10**6)[0].net

    def slow(x, t):
        time.sleep(0.02)
        return exact(x, t)

    net = torchdiff.wrap(slow, "v")
    one = WISH | DATA | {"seeds": 0}
    some = bench.run(net=net, out=tmp_path / "a", budget=0.6, **one)
    assert 0 < len(some) < some.header["planned"] == 6
    whole = bench.run(net=net, out=tmp_path / "a", **one)
    assert len(whole) == 6
    bench.run(net=net, out=tmp_path / "b", **one)
    assert text(tmp_path / "a") == text(tmp_path / "b")


def test_a_budget_too_small_for_a_cell_keeps_the_others(tmp_path):
    """One clear error, and the finished cells stand."""
    bench.run(out=tmp_path, **WISH | {"calls": 5})
    before = lines(tmp_path)
    with pytest.raises(OptionError, match=r"too small for one cell.*finished cells \(6 of 12\)"):
        bench.run(out=tmp_path, budget=1e-9, force=True, **WISH)
    assert lines(tmp_path)[1:7] == before[1:7]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seeds": (0, 2)}, "config seeds"),
        ({"count": 41}, "config count"),
        ({"calls": (5, 8)}, "config asked"),
        ({"solvers": "ddim"}, "config solvers"),
        ({"sde": "cosine"}, "config sde"),
        ({"metrics": "sliced_w2:directions=5"}, "config metrics"),
    ],
)
def test_another_question_is_refused_by_field(tmp_path, change, field):
    """F4: a folder that holds another bench is not touched; the message names the fields and --force."""
    bench.run(out=tmp_path, **WISH | {"calls": 5, "seeds": 0})
    before = (tmp_path / "cells.jsonl").read_bytes()
    with pytest.raises(OptionError, match=rf"{field}.*--force"):
        bench.run(out=tmp_path, **WISH | {"calls": 5, "seeds": 0} | change)
    assert (tmp_path / "cells.jsonl").read_bytes() == before


@pytest.mark.parametrize("name", ["noise", "torchdiff", "torch"])
def test_another_version_is_refused_by_name(tmp_path, name):
    """Cells of another library or noise are not mixed with ours."""
    words = WISH | {"calls": 5, "seeds": 0}
    bench.run(out=tmp_path, **words)
    path = tmp_path / "cells.jsonl"
    header, *rest = lines(tmp_path)
    other = json.loads(header)
    other["versions"][name] = "0"
    path.write_text("\n".join([json.dumps(other), *rest]) + "\n")
    with pytest.raises(OptionError, match=f"versions {name}: '0' there"):
        bench.run(out=tmp_path, **words)
    forced = bench.run(out=tmp_path, force=True, **words)
    assert lines(tmp_path)[1] != rest[0]  # made again
    assert len(forced) == 3
    assert (tmp_path / "cells.1.jsonl").read_text().splitlines()[1:] == rest


def test_force_keeps_what_fits(tmp_path):
    """A list that grew: the finished cells stay, times and all; the old file is set aside."""
    bench.run(out=tmp_path, **WISH | {"calls": 5})
    before = {json.loads(line)["key"]: line for line in lines(tmp_path)[1:]}
    done = bench.run(out=tmp_path, force=True, **WISH)
    after = {json.loads(line)["key"]: line for line in lines(tmp_path)[1:]}
    cells = [key for key in before if "seed=" in key.rpartition("|")[2]]
    assert len(cells) == 6
    assert all(after[key] == before[key] for key in cells)
    assert len(done) == 12
    assert (tmp_path / "cells.1.jsonl").exists()


@pytest.mark.parametrize("torn", ["", "{", '{"kind":"cell"}\n', "\x00\x01", "[1]\n"])
def test_a_file_that_is_none_is_refused_by_line(tmp_path, torn):
    """Whoever wrote into it, it was not the bench: nothing is guessed and nothing overwritten."""
    bench.run(out=tmp_path, **WISH | {"calls": 5, "seeds": 0})
    path = tmp_path / "cells.jsonl"
    path.write_text(path.read_text() + torn)
    if not torn:
        bench.load(tmp_path)
        return
    for act in (lambda: bench.load(tmp_path), lambda: bench.run(out=tmp_path, **WISH | {"calls": 5, "seeds": 0})):
        with pytest.raises(OptionError, match=r"cells.jsonl, line \d+"):
            act()
    assert path.read_text().endswith(torn)


def test_a_cell_without_its_samples_is_made_again(tmp_path):
    """A comparison needs them; a folder that lost some makes these cells anew, with the same numbers."""
    bench.run(out=tmp_path / "a", **WISH)
    before = text(tmp_path / "a")
    lost = sorted((tmp_path / "a" / "samples").iterdir())[0]
    content = lost.read_bytes()
    lost.unlink()
    bench.run(out=tmp_path / "a", **WISH)
    assert lost.read_bytes() == content
    assert text(tmp_path / "a") == before


# --- one at a time ---

HOLD = """
import sys
from pathlib import Path
from torchdiff.bench.lock import only
with only(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_of_two_processes_one_wins(tmp_path):
    """F3: the second is told process and host of the first; when that is killed, the lock is free."""
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StorageError, match=f"process {other.pid} on {platform.node()} is at work"):
            bench.run(out=tmp_path, **WISH)
        assert not (tmp_path / "cells.jsonl").exists()
        other.kill()
        other.wait(timeout=10)
    assert str(other.pid) in (tmp_path / "lock").read_text()  # stale, and known to be
    with only(tmp_path):
        assert str(os.getpid()) in (tmp_path / "lock").read_text()
    assert (tmp_path / "lock").read_text() == ""


def test_a_lock_of_another_host_counts(tmp_path):
    """Over a network its lock may not be seen: the note is believed, and the message says what to delete."""
    (tmp_path / "lock").write_text('{"pid": 1, "host": "elsewhere"}')
    with pytest.raises(StorageError, match=r"process 1 on elsewhere.*delete"), only(tmp_path):
        pass


# --- places that fail ---


def test_a_full_disk_keeps_what_is_finished(tmp_path, monkeypatch):
    """The disk fills at the third cell: one error, and the file still holds two whole ones."""
    real, written = storage.write, []

    def write(path, body):
        if path.name == "cells.jsonl" and (written.append(path) or len(written) > 3):
            raise StorageError(f"could not write {path}: No space left on device")
        real(path, body)

    monkeypatch.setattr(storage, "write", write)
    with pytest.raises(StorageError, match="No space"):
        bench.run(out=tmp_path, **WISH)
    assert len(bench.load(tmp_path)) == 2
    monkeypatch.undo()
    assert len(bench.run(out=tmp_path, **WISH)) == 12


@pytest.mark.parametrize("out", ["/proc/bench", "file/bench", "a\0b"])
def test_a_place_that_cannot_be_written_is_told_first(tmp_path, monkeypatch, out):
    """Before any network call."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    net, calls = network(last=10**6)
    with pytest.raises(StorageError, match="cannot write"):
        bench.run(net=net, out=out, **WISH | DATA)
    assert calls == []


# --- data files ---


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors"])
def test_data_files_are_read(tmp_path, suffix):
    """The three formats give the same cells and are one question, as the tensor is; other numbers are another."""
    import numpy as np
    from safetensors.torch import save_file

    path = tmp_path / f"x.{suffix}"
    x = DATA["data"]
    if suffix == "npy":
        np.save(path, x.numpy())
    elif suffix == "npz":
        np.savez(path, x=x.numpy())
    else:
        save_file({"x": x}, path)
    words = SMALL | {"calls": 5, "seeds": 0, "target": None, "net": network(10**6)[0]}
    found, plain = bench.run(data=str(path), **words), bench.run(data=x, **words)
    assert [c["metrics"] for c in found] == [c["metrics"] for c in plain]
    other = bench.run(data=x + 1.0, **words)
    assert found.header["config"] == plain.header["config"]
    assert found.header["config"]["data"] != other.header["config"]["data"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npy", b"", "cannot be read"),
        ("x.npy", torch.arange(5.0).numpy(), r"float32 \(5,\)"),
        ("x.npy", torch.arange(6).reshape(3, 2).numpy(), "int64"),
        ("x.npy", torch.zeros(0, 2).numpy(), r"\(0, 2\)"),
        ("x.npy", torch.full((9, 2), torch.nan).numpy(), "18 of 18 values are not"),
        ("x.npy", torch.zeros(9, 2).numpy(), "40 samples need 80 real rows"),
        ("x.safetensors", b"12345678{}", "cannot be read"),
        ("x.pt", b"", "safetensors, .npz or .npy"),
    ],
)
def test_data_of_the_wrong_kind_are_told(tmp_path, name, content, message):
    """Empty, flat, whole numbers, nan, too few, torn, another format: named, before any network call."""
    import numpy as np

    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    net, calls = network(10**6)
    with pytest.raises(ValueError, match=message):
        bench.run(data=str(path), net=net, **SMALL | {"calls": 5, "seeds": 0, "target": None})
    assert calls == []


def test_data_of_another_shape_than_the_network_takes(tmp_path):
    """The network's own complaint comes through, and the folder is readable."""
    net = torchdiff.wrap(torch.nn.Linear(3, 3).requires_grad_(False), "x0")
    words = SMALL | {"calls": 5, "seeds": 0, "target": None, "data": torch.randn(200, 2)}
    with pytest.raises((RuntimeError, TypeError)):
        bench.run(net=net, out=tmp_path, **words)
    assert len(bench.load(tmp_path)) == 0


# --- stops and kills ---


def test_a_signal_waits_for_the_cell_to_be_kept(tmp_path, monkeypatch):
    """Ctrl-C between a cell's samples and its record: both are there, and then it takes effect."""
    real, before = storage.write, signal.getsignal(signal.SIGINT)

    def write(path, body):
        real(path, body)
        if path.suffix == ".safetensors":
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(storage, "write", write)
    with pytest.raises(KeyboardInterrupt):
        bench.run(out=tmp_path, **WISH)
    assert len(bench.load(tmp_path)) == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_signal_stops_at_once(tmp_path):
    """The first stops when the network returns, which takes 0.6 s here, and says so; the second does not wait. Exit
    codes of a shell; the same command goes on, and no finished cell is made again."""
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    program = [sys.executable, str(Path(__file__).with_name("bench_stops.py")), str(tmp_path)]
    done = subprocess.run(program, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    once, twice = map(json.loads, done.stdout.splitlines())
    kept = "finished cells are kept in out, the same command goes on there\n"
    waits = "torchdiff: stopping when the network returns; once more stops at once\n"
    assert (once["code"], once["said"]) == (130, f"{waits}torchdiff: stopped; {kept}")
    assert (twice["code"], twice["said"]) == (130, f"torchdiff: stopped at once; {kept}")
    assert twice["seconds"] < 0.3 < once["seconds"]  # 0.01, and what is left of 0.6
    for case in (once, twice):
        assert case["after"] == 0
        assert (len(case["then"]), len(case["end"])) == (1, 3)
        assert case["end"][:1] == case["then"]  # times included


# --- kills ---


@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_kills_at_random_times_cost_nothing_that_was_finished(tmp_path, kills):
    """F1: SIGKILL within 0.3 s of the start, or after 1 to 40 network calls of 3 to 9 a cell.

    Never half a record, no finished cell made again, no draft left; in the end the file is that of a run that nobody
    killed, but for the timing.
    """
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    program = [sys.executable, str(Path(__file__).with_name("bench_kills.py")), str(tmp_path), str(kills), "1"]
    done = subprocess.run(program, env=environ, capture_output=True, text=True, check=False, timeout=550)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["wrong"] == []
    assert told["drafts"] == []
    assert told["killed"] >= 0.8 * kills  # the rest was done before its time came
    assert len(set(told["stood"])) > 2  # the control: kills met work in different places
    assert text(tmp_path / "killed") == text(tmp_path / "whole")
