"""Optimal grids that were computed before: a small JSON file each, in a folder of the user."""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from torchdiff import storage
from torchdiff.errors import StorageError, TorchdiffError, shown
from torchdiff.registry import SDES, SOLVERS
from torchdiff.sde.base import LinearSDE
from torchdiff.solvers.base import Solver
from torchdiff.spectra import Spectrum

VERSION = 1  # of the objectives, the search and the file: another number, and all is computed anew


def folder() -> Path:
    """$TORCHDIFF_CACHE, $XDG_CACHE_HOME/torchdiff, or ~/.cache/torchdiff; the files lie in grids/ below it."""
    own, shared = os.environ.get("TORCHDIFF_CACHE"), os.environ.get("XDG_CACHE_HOME")
    base = Path(own) if own else Path(shared) / "torchdiff" if shared else Path.home() / ".cache" / "torchdiff"
    return base / "grids"


def key(
    objective: str,
    sde: LinearSDE,
    solver: Solver,
    steps: int,
    t_max: float,
    t_min: float,
    final: bool,
    data: Spectrum,
) -> dict[str, Any] | None:
    """All that the times depend on. None for a process or a solver that others wrote, whose code may change."""
    if any(type(part).__module__.partition(".")[0] != "torchdiff" for part in (sde, *solver.parts(), solver)):
        return None
    try:
        names = {"sde": SDES.spec(sde), "solver": SOLVERS.spec(solver)}
    except TorchdiffError:  # given by functions: no text says what it is
        return None
    digest = hashlib.sha256(data.variance.tobytes() + data.mean.tobytes()).hexdigest()
    ends = {"t_max": t_max, "t_min": t_min, "final": final}
    return {"version": VERSION, **names, "steps": steps, **ends, "objective": objective, "spectrum": digest}


def place(key: dict[str, Any]) -> Path:
    """The file of a key."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return folder() / f"{digest[:24]}.json"


def read(key: dict[str, Any], build: Callable[..., Any]) -> Any:
    """build(**result) of the file of this key, None where there is none; a broken one is told of, and None too."""
    path = place(key)
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        return _broken(path, f"{type(error).__name__}: {error}")
    try:
        stored = json.loads(text)
        if stored["key"] != key:
            return _broken(path, "it is that of another request")
        result = stored["result"]
        times = tuple(float(t) for t in result["times"])
        falls = all(b < a for a, b in pairwise(times))
        fits = len(times) == key["steps"] + 1 and (times[0], times[-1]) == (key["t_max"], key["t_min"])
        if not (fits and falls and math.isfinite(result["value"])):
            return _broken(path, "its times do not fit the request")
        return build(**{**result, "times": times})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return _broken(path, f"{type(error).__name__}: {error}")


def write(key: dict[str, Any], result: Any) -> None:
    """Keep a result; where the folder cannot be written, say so and go on."""
    text = json.dumps({"key": key, "result": result._asdict()}, indent=1, allow_nan=False)
    try:
        path = storage.reserve(place(key), (".json",))
        storage.write(path, lambda file: file.writelines([text.encode()]))
    except StorageError as error:
        warnings.warn(f"the optimal grid is not kept: {error}; TORCHDIFF_CACHE names another folder", stacklevel=2)


def _broken(path: Path, why: str) -> None:
    warnings.warn(f"the cache file {shown(str(path))} is broken ({why}); its grid is computed anew", stacklevel=3)
