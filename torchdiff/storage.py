"""Files that are whole or not there: written beside their place, flushed to the disk, then moved over it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from torchdiff.errors import StorageError, shown


def reserve(path: str | os.PathLike[str], suffixes: tuple[str, ...]) -> Path:
    """The path, links resolved, after a check that a file can be written there; makes the folders above it.

    Call it before the work whose result is to be written. Raises StorageError naming path, cause and way out.
    """
    text = os.fspath(path)
    try:
        target = Path(os.path.realpath(text))
        if target.suffix not in suffixes:
            raise StorageError(f"{shown(text)} should end in {' or '.join(suffixes)}")
        if target.exists() and not target.is_file():
            raise StorageError(f"{shown(text)} is there and is no file; name another")
        target.parent.mkdir(parents=True, exist_ok=True)
        os.close(_create(trial := _beside(target)))
        trial.unlink()
    except StorageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL character
        raise StorageError(f"cannot write to {shown(text)}: {_cause(error)}; name another place") from error
    return target


def write(path: Path, body: Callable[[IO[bytes]], None]) -> None:
    """Write what `body` writes. Until all of it is on the disk the old file, or none, stands at the path.

    A process that is killed may leave a hidden `.NAME.*.tmp` beside it, never a torn file in its place.
    Raises StorageError, the old file kept, for a full disk and the like.
    """
    draft = _beside(path)
    try:
        with os.fdopen(_create(draft), "wb") as file:
            body(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        raise StorageError(
            f"could not write {shown(str(path))}: {_cause(error)}; what stood there is unchanged"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _beside(path: Path) -> Path:
    # in the same folder, so that the move stays within one file system; short, so that a long name still fits
    return path.with_name(f".{path.name[:64]}.{os.getpid()}-{os.urandom(4).hex()}.tmp")


def _create(path: Path) -> int:
    # os.open and not tempfile: the file gets the permissions that any new file of the user has
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)


def _sync_folder(folder: Path) -> None:
    """Makes the move itself last through a power cut, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # some network file systems cannot
            raise
    finally:
        os.close(handle)


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
