"""Data and spectra in files."""

from __future__ import annotations

from typing import Any

from torchdiff import arrays
from torchdiff.arrays import FILES
from torchdiff.errors import OptionError, shown

NAMES = ("x", "spectrum", "mean")


def read(path: str) -> dict[str, Any]:
    """The arrays of a file; that of .npy is x. Raises OptionError for one that cannot be read or has neither name."""
    try:
        found = arrays.read(path, NAMES)
    except Exception as error:  # SafetensorError, BadZipFile, zlib.error, UnpicklingError, bfloat16's TypeError, ...
        raise OptionError(f"{shown(path)} cannot be read: {type(error).__name__}: {error}") from error
    if found is None:
        raise OptionError(f"data is a file that ends in {', '.join(FILES)}, got {shown(path)}")
    if not {"x", "spectrum"} & set(found):
        raise OptionError(f"{shown(path)} has neither an array x of data nor one named spectrum")
    return found
