"""A spectrum: eigenvalues and mean, and how they follow from a power law or from data."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from torchdiff.errors import OptionError, shown
from torchdiff.gaussian.laws import Array
from torchdiff.gaussian.laws import data as normal

ROUNDING = 1e-15  # of the largest eigenvalue, for each sample or element: what eigh leaves where there is none


class Spectrum(NamedTuple):
    """Eigenvalues (K,) of the data's covariance and the data's mean along their eigenvectors (K,), both float64."""

    variance: Array
    mean: Array


def power_law(count: int = 256, exponent: float = 1.2, mean: float = 0.25) -> Spectrum:
    """Eigenvalues proportional to k^-exponent, k = 1 ... count, with this mean; the data's own mean is 0.

    Natural images have exponents around 1 to 1.2 (Field 1987: power falls as the frequency squared, and frequencies
    below f number f^2). mean: 0.25 is the variance that EDM takes for images in [-1, 1].
    Raises OptionError for a count below 1, an exponent that is not finite or overflows, and a mean not above 0.
    """
    if count < 1 or not 0.0 < mean < np.inf:
        raise OptionError(f"power: count is 1 or more and mean is positive, got count = {count!r}, mean = {mean!r}")
    with np.errstate(over="ignore"):
        values = np.arange(1.0, count + 1.0) ** -exponent
    if not np.all(np.isfinite(values)):
        raise OptionError(f"power: {count}^{-exponent:g} is no number; natural images have an exponent of 1 to 1.2")
    return checked(np.sort(values / values.mean() * mean)[::-1], 0.0)


def pca(data: ArrayLike) -> Spectrum:
    """Of data (N, *event): the eigenvalues of its covariance (divided by N), and its mean along the eigenvectors.

    D numbers each, D the elements of an event. At most N - 1 eigenvalues differ from 0; those that do by rounding alone
    are 0. Largest first. O(min(N, D)^2 max(N, D)).
    Raises OptionError for fewer than 2 samples, no elements and values that are not finite.
    """
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
    return checked(values[order], means[order])


def dct(data: ArrayLike) -> Spectrum:
    """Of images (N, H, W) or (N, C, H, W): variance and mean of each frequency of the orthonormal 2-D cosine transform.

    The eigenvalues of the covariance where it does not depend on the place (Ahmed, Natarajan & Rao 1974); it needs N
    images for the variance of a number, not of a matrix, so a few images are enough. Largest first.
    Raises OptionError as `pca` does, and for data of another shape.
    """
    from scipy.fft import dctn

    images = _array(data)
    if images.ndim not in (3, 4):
        raise OptionError(f"dct: images are (N, H, W) or (N, C, H, W), got shape {images.shape}; pca takes any shape")
    rows = _rows(images)  # looks at the values
    parts = np.asarray(dctn(rows.reshape(images.shape), axes=(-2, -1), norm="ortho")).reshape(len(rows), -1)
    values = parts.var(axis=0)
    order = _falling(values)
    return checked(values[order], parts.mean(axis=0)[order])


def checked(variance: Any, mean: Any) -> Spectrum:
    """The spectrum of these numbers, tensors on any device among them, as they stand. Raises OptionError."""
    if hasattr(variance, "detach"):  # a tensor, maybe on another device
        variance, mean = variance.detach().cpu(), mean.detach().cpu() if hasattr(mean, "detach") else mean
    return Spectrum(*normal(variance, mean))


def _array(data: Any) -> Any:
    try:
        return np.asarray(data.detach().cpu() if hasattr(data, "detach") else data, dtype=np.float64)
    except (TypeError, ValueError):
        raise OptionError(f"data are an array of numbers (N, *event), got {shown(data)}") from None


def _rows(data: Any) -> Any:
    values = _array(data)
    if values.ndim < 2 or len(values) < 2 or values.size == 0:
        raise OptionError(f"data are 2 or more samples (N, *event), got shape {values.shape}")
    rows = values.reshape(len(values), -1)
    if not np.all(np.isfinite(rows)):
        where = int(np.argwhere(~np.isfinite(rows))[0, 0])
        raise OptionError(f"sample {where} of the data has values that are not finite; mend it or leave it out")
    return rows


def _falling(values: Array) -> Any:
    return np.argsort(-values, kind="stable")
