"""One program under each instruction set: the same bits from every op."""

import os
import subprocess
import sys
from pathlib import Path

import torchdiff

PROGRAM = Path(__file__).with_name("levels.py")


def run(level):
    environment = {**os.environ, "TORCHDIFF_SIMD": level, "PYTHONPATH": str(Path(torchdiff.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, str(PROGRAM)], capture_output=True, text=True, check=False, timeout=300, env=environment
    )


def test_every_level_gives_the_bits_of_every_op(extension):
    """TORCHDIFF_SIMD chooses the loops of a whole process; what a level computes is what the others do."""
    digests = {}
    for level in extension.simd_levels():
        done = run(level)
        assert done.returncode == 0, done.stderr
        used, digests[level] = done.stdout.split()
        assert used == level
    assert len(set(digests.values())) == 1, digests


def test_an_unknown_level_is_refused_by_name(extension):
    """A level that the machine does not run stops the import with the ones that there are."""
    done = run("sse9")
    assert done.returncode != 0
    assert "TORCHDIFF_SIMD is 'sse9'; expected a level that this machine runs: avx512, avx2 or portable" in done.stderr
