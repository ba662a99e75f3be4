"""Spectra: eigenvalues of the data's covariance and its mean along the eigenvectors, on which errors are exact."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torchdiff.errors import OptionError, shown
from torchdiff.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

SPECTRA: Registry[Any] = Registry("spectrum", builtins=("torchdiff.spectra",))
FILES = (".npy", ".npz", ".safetensors")
ROUNDING = 1e-15  # of the largest eigenvalue, for each sample or element: what eigh leaves where there is none
REFERENCE = Path(__file__).parent / "zoo" / "weights" / "reference.safetensors"


class Spectrum(NamedTuple):
    """Eigenvalues (K,) of the data's covariance, largest first, and the data's mean along them (K,), both float64."""

    variance: Array
    mean: Array


def spectrum(what: Any = "power") -> Spectrum:
    """The spectrum that is meant: a name with options, a file of data, eigenvalues, or (eigenvalues, mean).

    "power:exponent=1.2,count=256", "digits", "pca:file=(...)", "dct:file=(...)"; a path to .npy, .npz or .safetensors
    is "pca" of it. Arrays (K,) of numbers.
    Raises UnknownNameError, OptionError, each saying what came and what would do.
    """
    if isinstance(what, Spectrum):
        return _checked(what.variance, what.mean)
    if isinstance(what, os.PathLike) or (isinstance(what, str) and what.endswith(FILES) and "=" not in what):
        return PCA(os.fspath(what)).values()
    if isinstance(what, (str, type)) or type(what) in (Power, Digits, PCA, DCT):
        return SPECTRA.get(what).values()
    if isinstance(what, tuple) and len(what) == 2 and hasattr(what[0], "__len__"):
        return _checked(*what)
    return _checked(what, 0.0)


def power_law(count: int = 256, exponent: float = 1.2, mean: float = 0.25) -> Spectrum:
    """Eigenvalues proportional to k^-exponent, k = 1 ... count, with this mean; the data's own mean is 0.

    Natural images have exponents around 1 to 1.2 (Field 1987: power falls as the frequency squared, and frequencies
    below f number f^2). mean: 0.25 is the variance that EDM takes for images in [-1, 1].
    Raises OptionError for a count below 1, an exponent that is not finite or overflows, and a mean not above 0.
    """
    import numpy as np

    if count < 1 or not 0.0 < mean < np.inf:
        raise OptionError(f"power: count is 1 or more and mean is positive, got count = {count!r}, mean = {mean!r}")
    with np.errstate(over="ignore"):
        values = np.arange(1.0, count + 1.0) ** -exponent
    if not np.all(np.isfinite(values)):
        raise OptionError(f"power: {count}^{-exponent:g} is no number; natural images have an exponent of 1 to 1.2")
    return _checked(np.sort(values / values.mean() * mean)[::-1], 0.0)


def pca(data: ArrayLike) -> Spectrum:
    """Of data (N, *event): the eigenvalues of its covariance (divided by N), and its mean along the eigenvectors.

    D numbers each, D the elements of an event. At most N - 1 eigenvalues differ from 0; those that do by rounding alone
    are 0. O(min(N, D)^2 max(N, D)).
    Raises OptionError for fewer than 2 samples, no elements and values that are not finite.
    """
    import numpy as np

    rows = _rows(data)
    center = rows.mean(axis=0)
    away = (rows - center) / np.sqrt(len(rows))
    count, size = away.shape
    if count >= size:
        values, vectors = np.linalg.eigh(away.T @ away)
        means = vectors.T @ center
    else:  # the eigenvectors along which the data varies are sums of samples
        values, vectors = np.linalg.eigh(away @ away.T)
        along = (away.T @ vectors[:, 1:]) / np.sqrt(np.maximum(values[1:], 1e-300))
        along[:, values[1:] <= values[-1] * count * ROUNDING] = 0.0
        rest = center - along @ (along.T @ center)  # of all directions without variance, one may be along the mean
        means = np.append(along.T @ center, [np.linalg.norm(rest), *[0.0] * (size - count)])
        values = np.append(values[1:], [0.0] * (size - count + 1))
    values = np.where(values > values.max() * max(count, size) * ROUNDING, values, 0.0)
    order = _falling(values)
    return _checked(values[order], means[order])


def dct(data: ArrayLike) -> Spectrum:
    """Of images (N, H, W) or (N, C, H, W): variance and mean of each frequency of the orthonormal 2-D cosine transform.

    The eigenvalues of the covariance where it does not depend on the place (Ahmed, Natarajan & Rao 1974); it needs N
    images for the variance of a number, not of a matrix, so a few images are enough. Largest first.
    Raises OptionError as `pca` does, and for data of another shape.
    """
    import numpy as np
    from scipy.fft import dctn

    images = _array(data)
    if images.ndim not in (3, 4):
        raise OptionError(f"dct: images are (N, H, W) or (N, C, H, W), got shape {images.shape}; pca takes any shape")
    rows = _rows(images)  # looks at the values
    parts = np.asarray(dctn(rows.reshape(images.shape), axes=(-2, -1), norm="ortho")).reshape(len(rows), -1)
    values = parts.var(axis=0)
    order = _falling(values)
    return _checked(values[order], parts.mean(axis=0)[order])


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
        return _checked(found["spectrum"].clip(min=0.0), found["mean"])  # the last ones are 0 but for rounding


@SPECTRA.register("pca")
@dataclass(frozen=True)
class PCA:
    """Eigenvalues of the covariance of a file's data x (N, *event), or its `spectrum` and `mean` where it has them."""

    file: str

    def values(self) -> Spectrum:
        found = _read(self.file)
        if "spectrum" in found:
            return _checked(found["spectrum"], found.get("mean", 0.0))
        return pca(found["x"])


@SPECTRA.register("dct")
@dataclass(frozen=True)
class DCT:
    """Variances of the frequencies of a file's images x (N, H, W) or (N, C, H, W)."""

    file: str

    def values(self) -> Spectrum:
        found = _read(self.file)
        if "x" not in found:
            raise OptionError(f"dct: {shown(self.file)} has no array x of images, but {', '.join(found)}")
        return dct(found["x"])


def _read(path: str) -> dict[str, Any]:
    """The arrays of a file; that of .npy is x. Raises OptionError for one that cannot be read or has neither name."""
    import numpy as np

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


def _checked(variance: Any, mean: Any) -> Spectrum:
    from torchdiff.gaussian.laws import data

    if hasattr(variance, "detach"):  # a tensor, maybe on another device
        variance, mean = variance.detach().cpu(), mean.detach().cpu() if hasattr(mean, "detach") else mean
    return Spectrum(*data(variance, mean))


def _array(data: Any) -> Any:
    import numpy as np

    try:
        return np.asarray(data.detach().cpu() if hasattr(data, "detach") else data, dtype=np.float64)
    except (TypeError, ValueError):
        raise OptionError(f"data are an array of numbers (N, *event), got {shown(data)}") from None


def _rows(data: Any) -> Any:
    import numpy as np

    values = _array(data)
    if values.ndim < 2 or len(values) < 2 or values.size == 0:
        raise OptionError(f"data are 2 or more samples (N, *event), got shape {values.shape}")
    rows = values.reshape(len(values), -1)
    if not np.all(np.isfinite(rows)):
        where = int(np.argwhere(~np.isfinite(rows))[0, 0])
        raise OptionError(f"sample {where} of the data has values that are not finite; mend it or leave it out")
    return rows


def _falling(values: Array) -> Any:
    import numpy as np

    return np.argsort(-values, kind="stable")
