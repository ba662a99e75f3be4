"""A check in a process of its own, which may hang or die without harm."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from torchdiff.testing.report import FAILED, Finding, Report

END = "it runs to its end"


def check_apart(target: str, kind: str | None = None, sdes: tuple[str, ...] = (), timeout: float = 300.0) -> Report:
    """The report on a target (a name or package.module:attribute), made in another process.

    timeout: seconds until the process, with all it has started, is killed. A process that hangs or dies fails the law
    "it runs to its end", whose case says in which law it was.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events"
        file.touch()
        command = [sys.executable, "-m", "torchdiff.testing", str(file), target, kind or "", *sdes]
        # its own session: a plugin's children die with it. What it prints is not ours, and goes to stderr.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno() if _real(sys.stderr) else subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            ended = f"exit code {process.wait(timeout)}"
        except subprocess.TimeoutExpired:
            ended = f"still running after {timeout:g} s"
        finally:
            _kill(process)
        return _report(file, kind, target, ended)


def _real(stream: Any) -> bool:
    try:
        return stream.fileno() >= 0
    except (AttributeError, OSError, ValueError):
        return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):  # not on Windows
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _report(file: Path, kind: str | None, target: str, ended: str) -> Report:
    law, findings = "the start of the process", []
    subject: tuple[str, str] | None = None
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            what, *rest = json.loads(line)
        except ValueError:  # a line that the end of the process cut off
            continue
        if what == "begin":
            (law,) = rest
        elif what == "finding":
            findings.append(Finding(*rest))
        else:
            subject = (rest[0], rest[1])
    if subject is None:
        findings.append(Finding(END, law, ended, "an end", FAILED, f"it was in the law {law!r}"))
        subject = (kind or "plugin", target)
    return Report(*subject, tuple(findings))
