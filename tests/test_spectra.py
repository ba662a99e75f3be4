"""Spectra: what their formulas say, what a known covariance has, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from scipy.linalg import toeplitz

from torchdiff import spectra
from torchdiff.errors import OptionError, UnknownNameError
from torchdiff.zoo import digits


def known(count, size, seed=0):
    """(data, its covariance, its mean): the sample covariance that `pca` must see, by its definition."""
    random = np.random.default_rng(seed)
    data = random.normal(size=(count, size)) @ random.normal(size=(size, size)) + random.normal(size=size)
    away = data - data.mean(axis=0)
    return data, away.T @ away / count, data.mean(axis=0)


def test_power_law():
    """Ratios are powers, the mean is the one asked for, largest first."""
    found = spectra.power_law(5, 1.5, 0.3)
    assert found.variance.mean() == pytest.approx(0.3, rel=1e-15)
    assert found.variance / found.variance[0] == pytest.approx(np.arange(1, 6) ** -1.5, rel=1e-15)
    assert np.array_equal(found.mean, np.zeros(5))
    assert np.array_equal(spectra.spectrum("power:exponent=1.5,count=5,mean=0.3").variance, found.variance)


@pytest.mark.parametrize(("count", "size"), [(50, 7), (7, 20), (8, 8)])
def test_pca_is_the_eigenvectors_of_the_covariance(count, size):
    """Eigenvalues of the covariance, D of them; a Gaussian's W2 to another needs no more than both and the mean."""
    data, covariance, mean = known(count, size)
    values, vectors = np.linalg.eigh(covariance)
    found = spectra.pca(data.reshape(count, size, 1))
    assert found.variance == pytest.approx(np.maximum(values[::-1], 0.0), abs=1e-13 * values[-1])
    assert np.all(found.variance[count - 1 :] == 0.0)
    varies = values[::-1] > 1e-9 * values[-1]
    assert np.abs(found.mean[varies]) == pytest.approx(np.abs((vectors.T @ mean)[::-1][varies]), rel=1e-9)
    assert found.mean @ found.mean == pytest.approx(mean @ mean, rel=1e-12)


def test_dct_of_a_stationary_process_is_its_spectrum():
    """Of images whose covariance is a Toeplitz matrix of a long-range power law, the frequencies' variances are within
    5 standard errors of the diagonal of C S C^T, C the orthonormal cosine transform by its formula."""
    size, count = 8, 4000
    k, n = np.arange(size)[:, None], np.arange(size)[None, :]
    cosine = np.sqrt((2.0 - (k == 0)) / size) * np.cos(np.pi * k * (2 * n + 1) / (2 * size))
    along = toeplitz(0.9 ** np.arange(size))
    factor = np.kron(np.linalg.cholesky(along), np.linalg.cholesky(along))
    images = (np.random.default_rng(1).normal(size=(count, size**2)) @ factor.T + 0.2).reshape(count, 1, size, size)
    found = spectra.dct(images)
    wanted = np.sort(np.outer(*[np.diag(cosine @ along @ cosine.T)] * 2).ravel())[::-1]
    # sorting may swap neighbours that differ by less than their errors, which moves each by less than that
    assert np.all(np.abs(found.variance / wanted - 1.0) < 5.0 * np.sqrt(2.0 / count))
    assert found.mean[0] == pytest.approx(0.2 * size, abs=5.0 * np.sqrt(wanted[0] / count))
    assert found.variance.sum() == pytest.approx(images.var(axis=0).sum(), rel=1e-12)  # the transform is orthonormal


def test_digits_are_those_of_the_zoo():
    """The same numbers that torchdiff.zoo.digits reads, without torch."""
    real = digits.reference()
    found = spectra.spectrum("digits")
    assert np.array_equal(found.variance, real["spectrum"].double().clamp(min=0.0).numpy())
    assert np.array_equal(found.mean, real["mean"].double().numpy())


def test_files_and_arrays_are_one(tmp_path):
    """.npy, .npz and .safetensors of the same data, and the array itself, have one spectrum; eigenvalues are taken as
    they stand."""
    data = known(30, 12)[0].reshape(30, 3, 4)
    np.save(tmp_path / "x.npy", data)
    np.savez(tmp_path / "x.npz", x=data, other=np.ones(3))
    save_file({"x": data}, tmp_path / "x.safetensors")
    wanted = spectra.pca(data)
    for name in ("x.npy", "x.npz", "x.safetensors"):
        for what in (str(tmp_path / name), tmp_path / name, f"pca:file=({tmp_path / name})"):
            assert np.array_equal(spectra.spectrum(what).variance, wanted.variance)
        assert np.array_equal(spectra.spectrum(f"dct:file=({tmp_path / name})").variance, spectra.dct(data).variance)
    assert np.array_equal(spectra.pca(torch.from_numpy(data)).variance, wanted.variance)
    save_file({"spectrum": np.array([3.0, 1.0]), "mean": np.array([0.5, 0.0])}, tmp_path / "s.safetensors")
    for what in (
        tmp_path / "s.safetensors",
        ([3.0, 1.0], [0.5, 0.0]),
        spectra.Spectrum(np.array([3.0, 1.0]), np.array([0.5, 0])),
    ):
        found = spectra.spectrum(what)
        assert (found.variance.tolist(), found.mean.tolist()) == ([3.0, 1.0], [0.5, 0.0])
    assert spectra.spectrum([3.0, 1.0]).mean.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("powr", "did you mean 'power'"),
        ("power:count=0", "count is 1 or more"),
        ("power:exponent=-1e9", "is no number"),
        ("power:mean=-1", "mean is positive"),
        ([], "K >= 1"),
        ([1.0, -1.0], "eigenvalues >= 0"),
        ([1.0, np.nan], "finite"),
        (([1.0, 2.0], [0.0, 0.0, 0.0]), "one shape"),
        ("none.npy", "cannot be read: FileNotFoundError"),
        ("pca:file=(x.csv)", "ends in .npy, .npz, .safetensors"),
        ({"a": 1}, "eigenvalues"),
    ],
)
def test_what_is_no_spectrum_is_named(what, message):
    """Unknown names, impossible numbers, other shapes: said with what came and what would do."""
    with pytest.raises((OptionError, UnknownNameError), match=message):
        spectra.spectrum(what)


def test_bad_data_is_named(tmp_path):
    """Too few samples, values that are not finite, other arrays, files that are torn."""
    good = known(5, 4)[0]
    bad = good.copy()
    bad[3, 1] = np.nan
    for read in (spectra.pca, spectra.dct):
        with pytest.raises(OptionError, match="sample 3 of the data"):
            read(bad.reshape(5, 2, 2))
        with pytest.raises(OptionError, match="2 or more samples|images are"):
            read(good[:1])
        with pytest.raises(OptionError, match="array of numbers"):
            read([["a"]])
    with pytest.raises(OptionError, match=r"\(N, H, W\)"):
        spectra.dct(good)
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04torn")
    (tmp_path / "x.safetensors").write_bytes(b"\xff" * 20)
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "y.npz", y=good)
    for name, message in (
        ("x.npz", "cannot be read"),
        ("x.safetensors", "cannot be read"),
        ("x.npy", "cannot be read"),
    ):
        with pytest.raises(OptionError, match=message):
            spectra.spectrum(tmp_path / name)
    with pytest.raises(OptionError, match="neither an array x"):
        spectra.spectrum(tmp_path / "y.npz")
