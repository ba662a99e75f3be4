"""Data and spectra in files."""

from __future__ import annotations

from typing import Any

import numpy as np

from torchdiff.errors import OptionError, shown

FILES = (".npy", ".npz", ".safetensors")


def read(path: str) -> dict[str, Any]:
    """The arrays of a file; that of .npy is x. Raises OptionError for one that cannot be read or has neither name."""
    try:
        if path.endswith((".npy", ".npz")):
            with open(path, "rb") as file:  # np.load of a torn file leaves its own open
                loaded = np.load(file, allow_pickle=False)
                single = isinstance(loaded, np.ndarray)
                names = {"x", "spectrum", "mean"} & set(() if single else loaded.files)
                found = {"x": loaded} if single else {name: loaded[name] for name in names}
        elif path.endswith(".safetensors"):
            from safetensors import safe_open

            with safe_open(path, "np") as file:
                names = {"x", "spectrum", "mean"} & set(file.keys())
                found = {name: file.get_tensor(name) for name in names}
        else:
            raise OptionError(f"data is a file that ends in {', '.join(FILES)}, got {shown(path)}")
    except OptionError:
        raise
    except Exception as error:  # SafetensorError, BadZipFile, zlib.error, UnpicklingError, bfloat16's TypeError, ...
        raise OptionError(f"{shown(path)} cannot be read: {type(error).__name__}: {error}") from error
    if not {"x", "spectrum"} & set(found):
        raise OptionError(f"{shown(path)} has neither an array x of data nor one named spectrum")
    return found
