"""One process a folder: a lock that dies with its holder, and says who that is."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torchdiff.errors import StorageError, shown

try:
    import fcntl
except ImportError:  # not a POSIX system: the number of the process alone tells
    fcntl = None


@contextmanager
def only(folder: Path) -> Iterator[None]:
    """Hold the folder's file `lock` while inside. Raises StorageError naming process and host of another holder.

    The system frees the lock of a process that dies, however it dies; what it wrote into the file stays and is known to
    be stale. Where the other holder is on another host, whose locks a network file system may hide, its word counts.
    """
    path, us = folder / "lock", {"pid": os.getpid(), "host": platform.node()}
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise StorageError(f"cannot write to {shown(str(folder))}: {error.strerror}; name another folder") from error
    try:
        free = _take(handle)
        them = _holder(handle)
        if not free or (them and them["host"] != us["host"]) or (fcntl is None and them and _alive(them["pid"])):
            who = f"process {them['pid']} on {them['host']}" if them else "another process"
            gone = "" if not free else f"; if it runs no more, delete {shown(str(path))}"
            raise StorageError(f"{who} is at work in {shown(str(folder))}: wait for it, or name another folder{gone}")
        _note(handle, json.dumps(us))
        try:
            yield
        finally:
            _note(handle, "")  # emptied, not deleted: whoever waits holds this very file
    finally:
        os.close(handle)


def _take(handle: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(handle: int) -> dict | None:
    """Who noted himself last; None for nobody, and for what is no note of ours."""
    try:
        found = json.loads(os.pread(handle, 4096, 0) or b"null")
        return {"pid": int(found["pid"]), "host": str(found["host"])}
    except (ValueError, TypeError, KeyError):
        return None


def _note(handle: int, text: str) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, text.encode(), 0)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
