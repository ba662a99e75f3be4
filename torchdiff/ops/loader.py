"""Where the ops come from: the compiled extension torchdiff._C, or the reference in plain torch."""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch

from . import paths, reference
from .schema import SCHEMAS

NOISE_VERSION = 1  # the bits of the noise; csrc/normal.h holds the same number and the loader compares them
SWITCH = "TORCHDIFF_NO_EXT"
PYTHON = {"brownian": paths.brownian} | {
    name: getattr(reference, name.replace(".", "_")) for name in SCHEMAS if name != "brownian"
}


class ReferenceWarning(RuntimeWarning):
    """The compiled extension is not in use; results are the same, bit for bit, and slower."""


class Backend(NamedTuple):
    """What executes the ops: name "extension" or "python", why, and what the extension was built with."""

    name: str
    reason: str
    devices: tuple[str, ...]  # devices with compiled kernels; the reference serves the others
    build: dict
    release: Callable[[], int] = lambda: 0  # see torchdiff.ops.release_memory


@functools.cache
def backend() -> Backend:
    """Loads the extension on the first call, registers what it lacks, and says what came of it."""
    if os.environ.get(SWITCH, "") not in ("", "0"):
        found = Backend("python", f"{SWITCH} is set in the environment", (), {})
    else:
        found = _load()
    missing = tuple(device for device in ("cpu", "cuda") if device not in found.devices)
    for name, text in SCHEMAS.items():
        op, _, overload = name.partition(".")
        ours = not hasattr(getattr(torch.ops.torchdiff, op, None), overload or "default")
        if ours:
            torch.library.define(f"torchdiff::{name}", text, tags=(torch.Tag.pt2_compliant_tag,))
        if devices := ("cpu", "cuda") if ours else missing:
            torch.library.impl(f"torchdiff::{name}", devices)(_announced(PYTHON[name]))
    return found


def _load() -> Backend:
    try:
        extension = importlib.import_module("torchdiff._C")
    except ModuleNotFoundError as error:
        if error.name != "torchdiff._C":
            raise
        return Backend("python", "torchdiff._C is not built; reinstall with a C++17 compiler at hand", (), {})
    except (ImportError, OSError) as error:
        return Backend("python", f"torchdiff._C does not load: {error}", (), {})
    build = extension.build_info()
    if build["noise_version"] != NOISE_VERSION:
        raise ImportError(
            f"torchdiff._C makes noise version {build['noise_version']}, this torchdiff is version {NOISE_VERSION}: "
            "the extension is from another build. Rebuild it (pip install --no-build-isolation -e .)"
        )
    devices = ("cpu", "cuda") if build["cuda"] else ("cpu",)
    return Backend("extension", f"torchdiff._C at {extension.__file__}", devices, build, extension.release_memory)


def _announced(op):
    @functools.wraps(op)
    def run(*arguments, **out):
        _announce_once()
        return op(*arguments, **out)

    return run


@functools.cache
def _announce_once() -> None:
    """Warns at the first use of the reference; whoever set the switch asked for it and is not warned."""
    found = backend()
    if SWITCH in found.reason:
        return
    why = found.reason if found.name == "python" else "torchdiff._C has no kernels for this device"
    warnings.warn(
        f"torchdiff runs its ops in plain torch, with the same results, slower: {why}. Set {SWITCH}=1 to silence this.",
        ReferenceWarning,
        stacklevel=4,
    )
