"""The code in the documents runs, as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# what the recipes take for granted, and the use that each of them promises
BEFORE = {
    "README.md": "",
    "CONTRIBUTING.md": "import math\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n"
    "import torch\nimport torchdiff\nfrom torchdiff import *\nfrom torchdiff.grids import Spaced\n"
    "from torchdiff.registry import GRIDS, SDES, SOLVERS\n",
}
AFTER = {
    "README.md": "assert images.shape == (16, 1, 28, 28) and out.plan.calls == 20\n",
    "CONTRIBUTING.md": "assert torchdiff.plan('plain_cosine', 'ddim0', steps=3, grid='cubic').calls == 4\n"
    "x = torchdiff.sample(torchdiff.get_target('coin').denoiser('vp'), 'vp', 'ddim', steps=9, shape=(5, 1), seed=0).x\n"
    "assert ((x.abs() - 1.0).abs() < 1e-3).all()\n",
}


# forward-mode derivatives load what torch itself calls deprecated
THEIRS = ("-W", "ignore:`torch.jit.script` is deprecated")


@pytest.mark.parametrize("name", BEFORE)
def test_examples_of_the_documents_run(name):
    """Every python block of the document, one after the other in a fresh process, does what the text says."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    code = "\n".join([BEFORE[name], *blocks, AFTER[name]])
    done = subprocess.run(
        [sys.executable, "-W", "error", *THEIRS, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
