"""docs/equivalence.md says what the tests compare, and nothing that does not exist."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed: pip install diffusers==0.42.1")
from deviations import DEVIATIONS
from tables import DOCUMENT, rendered

import torchdiff

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
TEXT = DOCUMENT.read_text(encoding="utf-8")


def test_tables_are_those_of_the_tests():
    """Rows, bounds and distances are what tests/peers makes of its cases; `python tests/peers/tables.py` mends them."""
    assert rendered(TEXT) == TEXT


def test_every_spec_builds():
    """What stands in a column "torchdiff" is a solver with options that it has."""
    found, column = set(), None
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            column = None
        elif column is None:
            column = cells.index("torchdiff")
        else:
            found |= set(re.findall(r"`([a-z0-9_]+(?::[^`]*)?)`", cells[column]))
    assert len(found) > 60
    for spec in found:
        assert torchdiff.get_solver(spec)


@pytest.mark.parametrize("one", DEVIATIONS, ids=lambda one: one.theirs.split("`")[1])
def test_a_deviation_is_one(one):
    """What is told as a difference is far above rounding; the smallest, of a first step, is 4e-5."""
    assert one.apart() > 1e-5
