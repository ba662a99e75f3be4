"""Spectra: eigenvalues of the data's covariance and its mean along the eigenvectors, on which errors are exact."""

from torchdiff.spectra.estimates import Spectrum, dct, pca, power_law
from torchdiff.spectra.sources import DCT, PCA, SPECTRA, Digits, Power, spectrum

__all__ = ["DCT", "PCA", "SPECTRA", "Digits", "Power", "Spectrum", "dct", "pca", "power_law", "spectrum"]
