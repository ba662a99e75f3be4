"""Arrays in files, by name: .npy, .npz, .safetensors."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

FILES = (".npy", ".npz", ".safetensors")
LEFT = ("metadata",)  # of an .npz that torchdiff wrote: text


def read(path: Any, names: Collection[str] | None = None, torch: bool = False) -> dict[str, Any] | None:
    """The arrays of a file by name, that of .npy as x; None for a file of another suffix.

    names: only those of them that are there; all by default. torch: as tensors, bfloat16 among them, which NumPy has
    not; what no tensor can hold stays an array of NumPy. What cannot be read raises what its format raises, an
    Exception of one kind or another: who asks says it in a line.
    """
    suffix = Path(path).suffix
    if suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt" if torch else "np") as file:
            wanted = [name for name in file.keys() if names is None or name in names]  # noqa: SIM118  # it is no mapping
            return {name: file.get_tensor(name) for name in wanted}
    if suffix not in FILES:
        return None
    import numpy as np

    with open(path, "rb") as file:  # np.load of a torn file leaves its own open
        loaded = np.load(file, allow_pickle=False)
        single = isinstance(loaded, np.ndarray)
        there = [] if single else [name for name in loaded.files if name not in LEFT]
        found = {"x": loaded} if single else {name: loaded[name] for name in there if names is None or name in names}
    return {name: _tensor(value) for name, value in found.items()} if torch else found


def _tensor(value: Any) -> Any:
    import numpy as np
    from torch import from_numpy

    try:
        # a tensor has the machine's order of bytes, and no steps backwards
        return from_numpy(np.ascontiguousarray(value, value.dtype.newbyteorder("=")).reshape(value.shape))
    except TypeError:  # text, objects
        return value
