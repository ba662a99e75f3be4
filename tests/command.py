"""The command `torchdiff` in tests: its words, and what a wrong request costs."""

from __future__ import annotations

import time

from torchdiff.cli import main


def flagged(command: str, good: dict[str, str], changes: dict[str, str | None]) -> list[str]:
    """The arguments of a request that works, with flags changed, added or (None) left out: first_index="3"."""
    flags = good | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    return [command, *(word for flag, value in flags.items() if value is not None for word in (flag, value))]


def refused(argv: list[str], capsys) -> str:
    """The one line of a request that is wrong; checks the exit code, the form and that it took no time (of the CPU)."""
    began = time.process_time()
    assert main(argv) == 2
    assert time.process_time() - began < 1.0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("torchdiff: error: ")
    assert err.count("\n") == 1
    assert len(err) < 1100
    return err
