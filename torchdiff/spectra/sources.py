"""Where spectra come from, by name: power laws, the shipped digits, files of data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchdiff.arrays import FILES
from torchdiff.errors import OptionError, shown
from torchdiff.registry import Registry
from torchdiff.spectra.estimates import Spectrum, checked, dct, pca, power_law
from torchdiff.spectra.files import read

SPECTRA: Registry[Any] = Registry("spectrum", builtins=("torchdiff.spectra.sources",))
REFERENCE = Path(__file__).parents[1] / "zoo" / "weights" / "reference.safetensors"


def spectrum(what: Any = "power") -> Spectrum:
    """The spectrum that is meant: a name with options, a file of data, eigenvalues, or (eigenvalues, mean).

    "power:exponent=1.2,count=256", "digits", "pca:file=(...)", "dct:file=(...)"; a path to .npy, .npz or .safetensors
    is "pca" of it. Arrays (K,) of numbers.
    Raises UnknownNameError, OptionError, each saying what came and what would do.
    """
    if isinstance(what, Spectrum):
        return checked(what.variance, what.mean)
    if isinstance(what, os.PathLike) or (isinstance(what, str) and what.endswith(FILES) and "=" not in what):
        return PCA(os.fspath(what)).values()
    if isinstance(what, (str, type)) or type(what) in (Power, Digits, PCA, DCT):
        return SPECTRA.get(what).values()
    if isinstance(what, tuple) and len(what) == 2 and hasattr(what[0], "__len__"):
        return checked(*what)
    return checked(what, 0.0)


@SPECTRA.register("power")
@dataclass(frozen=True)
class Power:
    """Eigenvalues k^-exponent with this mean: what natural images have. See `power_law`."""

    exponent: float = 1.2
    count: int = 256
    mean: float = 0.25

    def values(self) -> Spectrum:
        return power_law(self.count, self.exponent, self.mean)


@SPECTRA.register("digits")
@dataclass(frozen=True)
class Digits:
    """The 784 eigenvalues of 5000 digits in [-1, 1], and their mean: what the shipped network was trained on."""

    def values(self) -> Spectrum:
        from safetensors.numpy import load_file

        found = load_file(REFERENCE)
        return checked(found["spectrum"].clip(min=0.0), found["mean"])  # the last ones are 0 but for rounding


@SPECTRA.register("pca")
@dataclass(frozen=True)
class PCA:
    """Eigenvalues of the covariance of a file's data x (N, *event), or its `spectrum` and `mean` where it has them."""

    file: str

    def values(self) -> Spectrum:
        found = read(self.file)
        if "spectrum" in found:
            return checked(found["spectrum"], found.get("mean", 0.0))
        return pca(found["x"])


@SPECTRA.register("dct")
@dataclass(frozen=True)
class DCT:
    """Variances of the frequencies of a file's images x (N, H, W) or (N, C, H, W)."""

    file: str

    def values(self) -> Spectrum:
        found = read(self.file)
        if "x" not in found:
            raise OptionError(f"dct: {shown(self.file)} has no array x of images, but {', '.join(found)}")
        return dct(found["x"])
