"""Optimal grids are kept in files that are whole, found again, and never trusted when they are not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from torchdiff.registry import SDES
from torchdiff.sde import VP
from torchdiff.tune import cache, optimal_times, search

WORDS = dict(sde="vp", solver="ddim", steps=3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "grids"


@pytest.fixture
def searches(monkeypatch):
    """How often a search was made."""
    made = []
    real = search.search
    monkeypatch.setattr(search, "search", lambda *args: made.append(1) or real(*args))
    return made


def test_a_grid_is_found_again(folder, searches):
    """The second request reads what the first one wrote, the same floats; other words are another file."""
    first = optimal_times(**WORDS)
    assert (len(searches), len(list(folder.iterdir()))) == (1, 1)
    assert optimal_times(**WORDS) == first
    assert len(searches) == 1
    text = next(folder.iterdir()).read_text()
    assert tuple(json.loads(text)["result"]["times"]) == first
    others = (
        dict(steps=4), dict(solver="ddpm"), dict(sde="cosine"), dict(t_min=0.01), dict(t_max=0.9), dict(final="t_min"),
        dict(objective="end"), dict(spectrum=[1.0, 0.5]), dict(spectrum=([1.0, 0.5], [0.1, 0.0])),
    )  # fmt: skip
    for count, other in enumerate(others, 2):
        optimal_times(**(WORDS | other))
        assert len(searches) == len(list(folder.iterdir())) == count, other


def test_nothing_is_kept_where_it_was_not_asked_or_cannot_be_named(folder, searches, monkeypatch):
    """cache=False, and a process of the user's own, whose code may change."""

    @dataclass(frozen=True)
    class Mine(VP):
        pass

    optimal_times(**WORDS, cache=False)
    optimal_times(**(WORDS | dict(sde=Mine())))
    monkeypatch.setitem(SDES._names, Mine, "mine")  # a name does not help: what it means may change
    monkeypatch.setitem(SDES._classes, "mine", Mine)
    optimal_times(**(WORDS | dict(sde="mine")))
    assert len(searches) == 3
    assert not folder.exists()


@pytest.mark.parametrize(
    "breaks",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"steps": 3', '"steps": 4'),
        lambda text: text.replace('"t_max": 1.0', '"t_max": 0.5'),
        lambda text: text.replace('"value": ', '"value": 1e999, "was": '),
        lambda text: text.replace('"times": [', '"times": [2.0, '),
        lambda text: json.dumps(
            json.loads(text) | {"result": {"times": [1.0, 0.2, 0.5, 0.001], "value": 1, "known": "", "known_value": 1}}
        ),
        lambda text: "\udcff",
    ],
)
def test_a_broken_file_is_told_of_and_made_anew(folder, searches, breaks):
    """Torn, of another request, with times that do not fall: a warning with its path, and the file is right again."""
    first = optimal_times(**WORDS)
    path = next(folder.iterdir())
    good = path.read_text()
    path.write_bytes(breaks(good).encode("utf-8", "surrogateescape"))
    with pytest.warns(UserWarning, match="is broken"):
        assert optimal_times(**WORDS) == first
    assert path.read_text() == good
    assert len(searches) == 2


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path, monkeypatch):
    """The grid is computed all the same; what is wrong, and the way out, is said."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TORCHDIFF_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="not kept.*TORCHDIFF_CACHE"):
        times = optimal_times(**WORDS)
    assert times == optimal_times(**WORDS, cache=False)


def test_a_full_disk_is_no_failure(folder, monkeypatch):
    """An error while writing leaves no file, old or new, torn."""

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.storage.os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left"):
        optimal_times(**WORDS)
    assert list(folder.iterdir()) == []


CODE = """
import os, signal
from torchdiff import storage
from torchdiff.tune import optimal_times
storage.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
optimal_times("vp", "ddim", steps=3)
"""


def test_a_killed_writer_leaves_no_file(folder, searches):
    """SIGKILL between write and move: the next process finds nothing and computes."""
    done = subprocess.run([sys.executable, "-c", CODE], check=False, env={**os.environ}, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert [path.suffix for path in folder.iterdir()] == [".tmp"]
    optimal_times(**WORDS)
    assert len(searches) == 1


def test_where_the_files_lie(monkeypatch):
    """TORCHDIFF_CACHE, else XDG_CACHE_HOME, else ~/.cache."""
    monkeypatch.setenv("TORCHDIFF_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache.folder() == Path("/a/grids")
    monkeypatch.delenv("TORCHDIFF_CACHE")
    assert cache.folder() == Path("/b/torchdiff/grids")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert cache.folder() == Path("/c/.cache/torchdiff/grids")
