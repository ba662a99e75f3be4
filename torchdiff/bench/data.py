"""What a user brings in files or as tensors: real samples, and conditions beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchdiff import arrays
from torchdiff.errors import OptionError, StorageError, shown


def real(data: Any) -> tuple[Tensor, dict[str, Any]]:
    """(real samples (N, *shape) as float32 or float64, the other arrays of their file by name).

    data: a tensor, or the name of a .safetensors or .npz file with x, or of an .npy file.
    Raises StorageError for a file that cannot be read, OptionError for one without such a tensor.
    """
    if isinstance(data, (str, Path)):
        found = named("data", data)
        if "x" not in found and len(found) != 1:
            raise OptionError(f"{shown(str(data))} has no tensor x, but {', '.join(found) or 'none'}")
        key = "x" if "x" in found else next(iter(found))
        x, who = found.pop(key), f"data {shown(str(data))} are"
    else:
        x, who, found = data, "data are", {}
    if not isinstance(x, Tensor) or x.dim() < 2 or not x.is_floating_point() or not x.numel():
        raise OptionError(f"{who} {kind(x)}; expected floats (N, *shape), N samples")
    if not bool(x.isfinite().all()):
        raise OptionError(f"data must be finite; {int((~x.isfinite()).sum())} of {x.numel()} values are not")
    return x if x.dtype == torch.float64 else x.float(), found


def named(what: str, path: str | Path) -> dict[str, Any]:
    """The arrays of a file by name. Raises StorageError for one that cannot be read, OptionError for another kind."""
    try:
        found = arrays.read(path, torch=True)
    except Exception as error:  # each format has exceptions of its own for what is none of it
        cause = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise StorageError(f"{what} {shown(str(path))} cannot be read: {cause}") from error
    if found is None:
        raise OptionError(f"{what} are a .safetensors, .npz or .npy file, got {shown(str(path))}")
    return found


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Of names, dtypes, shapes and values: the same numbers in another format are the same; "" for none."""
    if not tensors:
        return ""
    found = hashlib.sha256()
    for name in sorted(tensors):
        x = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {x.dtype} {tuple(x.shape)}\n".encode())
        found.update(x.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]


def kind(value: Any) -> str:
    """dtype and shape of an array, else the type."""
    return f"{value.dtype} {tuple(value.shape)}" if hasattr(value, "dtype") else type(value).__name__
