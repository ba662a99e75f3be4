"""Where the ops come from, and what is said when it is not the compiled extension."""

import os
import subprocess
import sys

import torch

from torchdiff import noise, ops
from torchdiff.ops import schema

BREAK = """
import sys, warnings
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "torchdiff._C":
            raise ImportError("undefined symbol: for the test")
sys.meta_path.insert(0, Broken())
"""
USE = """
import torch
from torchdiff import noise, ops
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    values = [noise.normal((2, 3), seed=5) for _ in range(2)]
names = [w.category.__name__ for w in caught]
print(ops.backend().name, "|", ops.backend().reason, "|", names, "|", values[0].tolist())
"""


def run(code, **environment):
    kept = {key: value for key, value in os.environ.items() if key != "TORCHDIFF_NO_EXT"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**kept, **environment}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.strip(), done.stderr


def test_a_broken_extension_is_announced_once():
    """An extension that does not load leaves the reference, one warning at first use, the reason, and the same bits."""
    code, out, err = run(BREAK + USE)
    assert code == 0, err
    name, reason, warned, values = out.split(" | ")
    assert name == "python"
    assert "undefined symbol: for the test" in reason
    assert warned == "['ReferenceWarning']"
    assert values == str(noise.normal((2, 3), seed=5).tolist())


def test_the_switch_is_silent():
    """Whoever sets TORCHDIFF_NO_EXT=1 gets the reference without a warning, and the reason says so."""
    code, out, err = run("import warnings" + USE, TORCHDIFF_NO_EXT="1")
    assert code == 0, err
    name, reason, warned, values = out.split(" | ")
    assert (name, warned) == ("python", "[]")
    assert "TORCHDIFF_NO_EXT" in reason
    assert values == str(noise.normal((2, 3), seed=5).tolist())


def test_an_extension_of_another_noise_version_is_refused():
    """A stale build would change every sample in silence: importing it is an error that says what to do."""
    stale = """
import sys, types
stale = types.ModuleType("torchdiff._C")
stale.build_info = lambda: {"noise_version": 0, "cuda": False}
sys.modules["torchdiff._C"] = stale
import torchdiff.ops
"""
    code, _, err = run(stale)
    assert code != 0
    assert "noise version 0, this torchdiff is version 1" in err


def test_schemas_agree():
    """The op that is loaded has the schema written in Python, whichever side defined it."""
    for name, text in (("affine", schema.AFFINE), ("normal", schema.NORMAL), ("brownian", schema.BROWNIAN)):
        expected = torch._C.parse_schema(f"torchdiff::{name}{text}")
        assert getattr(torch.ops.torchdiff, name).default._schema == expected


def test_build_info_names_the_noise_version(extension):
    """C++ and Python hold the same noise version."""
    assert extension.build_info()["noise_version"] == noise.NOISE_VERSION == ops.NOISE_VERSION
    assert extension.build_info()["simd"] in extension.simd_levels()
