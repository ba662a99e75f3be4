"""Laws of `torchdiff simulate` and of the sets that it draws."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import torchdiff
from torchdiff.cli import main
from torchdiff.errors import UnknownNameError
from torchdiff.zoo import planar


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TORCHDIFF_DEBUG", raising=False)
    return tmp_path


def size(path):
    """Width and height of a PNG."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def test_numbers_are_what_simulate_gives(place, capsys):
    """The file holds the states of torchdiff.simulate for the same seed, all blocks; its x is data for another run."""
    words = ["--data", "moons", "--count", "7", "--seed", "3", "--times", "0,0.25,1", "--out", "a.safetensors"]
    assert main(["simulate", "cld", *words, "--json"]) == 0
    facts, stored = json.loads(capsys.readouterr().out), load_file(place / "a.safetensors")
    done = torchdiff.simulate("cld", planar.points("moons", 7), [0.0, 0.25, 1.0], seed=3)
    assert torch.equal(stored["x"], done.x)
    assert torch.equal(stored["state_1"], done.state[1])
    assert (facts["seed"], facts["times"]) == (3, [0.0, 0.25, 1.0])
    assert main(["simulate", "vp", "--data", "a.safetensors", "--count", "2", "--seed", "3", "--out", "b.npz"]) == 0
    with np.load(place / "b.npz") as file:
        assert file["x"].shape == (9, 2, 7, 2)


@pytest.mark.parametrize("data", ["digits", "pinwheel"])
def test_a_picture_is_drawn_twice_the_same(place, data):
    """Wider than high, a row an SDE, and the same bytes for the same seed, others for another."""
    for name, seed in (("a.png", "1"), ("b.png", "1"), ("c.png", "2")):
        words = ["--data", data, "--seed", seed, "--times", "0,0.3,1", "--out", name]
        assert main(["simulate", "vp", *words, *(["--count", "40"] if data != "digits" else [])]) == 0
    pictures = [(place / name).read_bytes() for name in ("a.png", "b.png", "c.png")]
    assert pictures[0] == pictures[1] != pictures[2]
    width, height = size(place / "a.png")
    assert width > 2 * height


WRONG = [
    (["vpp"], "vp"),
    (["vp", "--data", "cats"], "digits, swiss_roll"),
    (["vp", "--data", "no.safetensors"], "cannot be read"),
    (["vp", "--times", "1,0"], "rise"),
    (["vp", "--times", "0,2"], "outside [0, 1]"),
    (["vp", "--times", "0,x"], "finite number"),
    (["vp", "--data", "moons", "--method", "milstein"], "steps"),
    (["vp", "--data", "moons", "--method", "rk4"], "known: exact"),
    (["vp", "--out", "x.jpg"], ".png"),
    (["vp", "--count", "0"], "whole number"),
    (["vp", "--data", "moons", "--noise", "pink"], "'white' or 'brownian'"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_wrong_requests_are_one_line(place, capsys, words, message):
    """Exit code 2, one line that names what is wrong, no file."""
    assert main(["simulate", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert not list(place.rglob("*.png"))


def test_without_matplotlib_there_is_one_clear_error(place):
    """A picture names the package and the way out; numbers need none."""
    program = """
import sys
sys.modules["matplotlib"] = None
from torchdiff.cli import main
assert main(["simulate", "vp", "--data", "moons", "--out", "a.npz"]) == 0
sys.exit(main(["simulate", "vp"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=place)
    assert done.returncode == 2, done.stderr
    assert "pip install matplotlib" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_point_does_not_depend_on_its_batch():
    """Point i of a set is a function of (seed, i); an unknown set lists the known."""
    for name in planar.SETS:
        assert torch.equal(planar.points(name, 9)[4:6], planar.points(name, 2, first_index=4))
        assert not torch.equal(planar.points(name, 9), planar.points(name, 9, seed=1))
    with pytest.raises(UnknownNameError, match="pinwheel"):
        planar.points("cats", 3)
