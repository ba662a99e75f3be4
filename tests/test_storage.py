"""Laws of files: whole or not there, whatever happens to the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load

from torchdiff import formats, storage
from torchdiff.errors import StorageError

CODE = """
import os, signal, sys
from pathlib import Path
from torchdiff import storage

def die(*_): os.kill(os.getpid(), signal.SIGKILL)

def body(file):
    file.write(b"new" * 100_000)
    file.flush()
    if sys.argv[1] == "inside":
        die()

if sys.argv[1] == "before":
    storage.os.replace = die
storage.write(Path("x.npz"), body)
"""


@pytest.mark.parametrize("moment", ["inside", "before"])
def test_a_kill_leaves_the_old_file(tmp_path, moment):
    """SIGKILL while writing, or between write and move: the path still holds what it held, whole."""
    (tmp_path / "x.npz").write_text("old")
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", CODE, moment], check=False, cwd=tmp_path, env=environ, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "x.npz").read_text() == "old"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("torn"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    """A full disk, a bug or Ctrl-C: the old file stands, and no draft is left beside it."""
    path = tmp_path / "x.npz"
    path.write_text("old")

    def body(file):
        file.write(b"half")
        raise error

    with pytest.raises(StorageError if isinstance(error, OSError) else type(error)):
        storage.write(path, body)
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]
    assert path.read_text() == "old"


def test_reserve_makes_folders_and_no_file(tmp_path):
    """A place that can be written is returned, and nothing but its folders is made."""
    path = storage.reserve(tmp_path / "a" / "b" / "ü.npz", (".npz",))
    assert path.parent.is_dir()
    assert list(path.parent.iterdir()) == []
    storage.write(path, lambda file: file.write(b"new") and None)
    assert path.read_bytes() == b"new"


def test_a_link_stays_a_link(tmp_path):
    """The file that a link points to is replaced, not the link."""
    (tmp_path / "far").mkdir()
    (tmp_path / "x.npz").symlink_to(tmp_path / "far" / "y.npz")
    storage.write(storage.reserve(tmp_path / "x.npz", (".npz",)), lambda file: file.write(b"new") and None)
    assert (tmp_path / "x.npz").is_symlink()
    assert (tmp_path / "far" / "y.npz").read_bytes() == b"new"


def test_a_new_file_has_the_usual_permissions(tmp_path):
    """Not the 0600 of a temporary file: what open() would give."""
    (tmp_path / "usual").touch()
    storage.write(tmp_path / "x.npz", lambda file: file.write(b"new") and None)
    assert (tmp_path / "x.npz").stat().st_mode == (tmp_path / "usual").stat().st_mode


SHAPES = st.lists(st.integers(0, 3), max_size=4)
DTYPES = st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16])


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.tuples(SHAPES, DTYPES), max_size=4), st.text())
def test_safetensors_reads_what_we_write(specs, note):
    """The bits, shapes and dtypes of any tensors come back from the official reader, strided ones too."""
    import io

    specs.pop("__metadata__", None)
    tensors = {name: torch.randn(shape).to(dtype).transpose(0, -1) if shape else torch.randn(()).to(dtype)
               for name, (shape, dtype) in specs.items()}  # fmt: skip
    file = io.BytesIO()
    formats.write_safetensors(file, tensors, {"note": note})
    found = load(file.getvalue())
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
