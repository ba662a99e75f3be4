"""Where the ops come from: the compiled extension torchdiff._C, or the reference in plain torch."""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from typing import NamedTuple

import torch

from . import reference
from .paths import brownian
from .schema import AFFINE, BROWNIAN, NORMAL

NOISE_VERSION = 1  # the bits of the noise; csrc/normal.h holds the same number and the loader compares them
OPS = {
    "affine": (AFFINE, reference.affine),
    "normal": (NORMAL, reference.normal),
    "brownian": (BROWNIAN, brownian),
}
SWITCH = "TORCHDIFF_NO_EXT"


class ReferenceWarning(RuntimeWarning):
    """The compiled extension is not in use; results are the same, bit for bit, and slower."""


class Backend(NamedTuple):
    """What executes the ops: name "extension" or "python", why, and what the extension was built with."""

    name: str
    reason: str
    devices: tuple[str, ...]  # devices with compiled kernels; the reference serves the others
    build: dict


@functools.cache
def backend() -> Backend:
    """Loads the extension on the first call, registers what it lacks, and says what came of it."""
    if os.environ.get(SWITCH, "") not in ("", "0"):
        found = Backend("python", f"{SWITCH} is set in the environment", (), {})
    else:
        found = _load()
    missing = tuple(device for device in ("cpu", "cuda") if device not in found.devices)
    for name, (schema, kernel) in OPS.items():
        if not hasattr(torch.ops.torchdiff, name):
            torch.library.define(f"torchdiff::{name}", schema, tags=(torch.Tag.pt2_compliant_tag,))
        if missing:
            torch.library.impl(f"torchdiff::{name}", missing)(_announced(kernel))
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
    return Backend("extension", f"torchdiff._C at {extension.__file__}", devices, build)


def _announced(op):
    @functools.wraps(op)
    def run(*arguments):
        _announce_once()
        return op(*arguments)

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
