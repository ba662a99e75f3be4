"""The set-up of all benchmarks, and the report at their end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from . import report
from .machine import facts
from .paired import Clock, Pairs, Timed, compare

REMARKS = Path(__file__).with_name("remarks.md")
ROWS, ABSENT = pytest.StashKey[list[report.Row]](), pytest.StashKey[list[str]]()
FACTS = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser):
    group = parser.getgroup("benchmarks")
    group.addoption("--results", metavar="FILE.md", help="write the report here")
    group.addoption("--seconds", type=float, default=4.0, help="for the rounds of one comparison (default 4)")
    group.addoption("--threads", type=int, default=2, help="for all sides (default 2)")


def pytest_configure(config):
    # how torch.compile and the peers treat their own deprecations is not for us to mend
    for line in ("ignore:::torch", "ignore:::diffusers", "ignore:::torchsde"):
        config.addinivalue_line("filterwarnings", line)
    torch.set_num_threads(config.getoption("threads"))
    config.stash[ROWS], config.stash[ABSENT], config.stash[FACTS] = [], [], facts()


@pytest.fixture(autouse=True)
def _as_samplers_run():
    """Nothing is recorded for autograd, on any side."""
    with torch.no_grad():
        yield


@pytest.fixture
def record(request):
    """Takes a row into the report."""
    return request.config.stash[ROWS].append


@pytest.fixture
def versus(request, record) -> Callable[..., Pairs]:
    """versus(case, against, ours, theirs, ...): compares two clocks and records the row.

    scale: what theirs is multiplied by, to stand for the same work. note: a text, or a function of the Pairs.
    The rest as in report.Row. An op of ours is also timed by pytest-benchmark alone, for --benchmark-compare between
    commits; the ratios do not come from there.
    """

    def run(case: str, against: str, ours: Clock, theirs: Clock, *, scale=1.0, note="", **bars) -> Pairs:
        seconds = request.config.getoption("seconds")
        pairs = compare(ours, lambda: scale * theirs(), seconds=seconds)
        text = note(pairs) if callable(note) else note
        record(report.Row(case, against, "s", *pairs, **bars, note=text))
        if isinstance(ours, Timed):
            request.getfixturevalue("benchmark").pedantic(ours.call, rounds=5, iterations=ours.number)
        return pairs

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if outcome.skipped:
        item.config.stash[ABSENT].append(f"{item.nodeid.rpartition('/')[2]}: {outcome.longrepr[2]}")
    return outcome


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    rows, absent, found = config.stash[ROWS], config.stash[ABSENT], config.stash[FACTS]
    if not rows:
        return
    for name, value in found.items():
        terminalreporter.write_line(f"{name}: {value}")
    terminalreporter.write_line(report.table(rows))
    target = config.getoption("results")
    if target and exitstatus != 0:
        terminalreporter.write_line(
            f"not written: {target}, for a report without the rows that failed would look whole"
        )
    elif target:
        remarks = REMARKS.read_text(encoding="utf-8")
        Path(target).write_text(report.document(found, rows, absent, remarks), encoding="utf-8")
        terminalreporter.write_line(f"written: {os.path.relpath(target)}")
