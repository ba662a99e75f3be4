"""Laws of arrays in files: three formats, one reading."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import torchdiff
from torchdiff import arrays, bench, gaussian, spectra
from torchdiff.formats import write_npz

X = np.arange(12.0, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize("form", [True, False])
def test_all_formats_read_alike(tmp_path, form):
    """npy, npz and safetensors give the same arrays, as tensors too; `names` picks; the words of our .npz are left."""
    np.save(tmp_path / "x.npy", X)
    with (tmp_path / "x.npz").open("wb") as file:
        write_npz(file, {"x": torch.from_numpy(X), "y": torch.ones(2)}, {"seed": "1"})
    save_file({"x": torch.from_numpy(X), "y": torch.ones(2)}, tmp_path / "x.safetensors")
    for suffix, names in {"npy": {"x"}, "npz": {"x", "y"}, "safetensors": {"x", "y"}}.items():
        path = tmp_path / f"x.{suffix}"
        found = arrays.read(path, torch=form)
        assert found.keys() == names
        assert isinstance(found["x"], torch.Tensor) == form
        assert (np.asarray(found["x"]) == X).all()
        assert arrays.read(str(path), ("x", "z"), torch=form).keys() == {"x"}
    assert arrays.read(tmp_path / "x.csv") is None


@pytest.mark.parametrize("kept", [X.astype(">f8"), X[::-1], np.asfortranarray(X), X[:, 0], np.float32(3.0)])
def test_tensors_hold_any_order(tmp_path, kept):
    """Another order of bytes, of elements, no dimension: the same numbers."""
    np.savez(tmp_path / "x.npz", x=kept)
    found = arrays.read(tmp_path / "x.npz", torch=True)["x"]
    assert found.shape == np.shape(kept)
    assert (found.numpy() == kept).all()


def test_what_a_library_has_not_is_left_alone(tmp_path):
    """bfloat16 is torch's, text NumPy's, and an array that is not asked for is not looked at."""
    save_file({"x": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "x.safetensors")
    assert arrays.read(tmp_path / "x.safetensors", torch=True)["x"].dtype == torch.bfloat16
    np.savez(tmp_path / "x.npz", x=X, word=np.array(["one"]), odd=np.array([{}], dtype=object))
    found = arrays.read(tmp_path / "x.npz", ("x", "word"), torch=True)
    assert found["word"].tolist() == ["one"]
    assert (torchdiff.get_target(f"empirical:data=({tmp_path / 'x.npz'})").sample(5) >= 0.0).all()
    with pytest.raises(ValueError, match="allow_pickle"):
        arrays.read(tmp_path / "x.npz")


def test_one_convention_of_covariance(tmp_path):
    """Divided by N in spectra, in the law of a finite set, and in the exact error of a bench on data."""
    x = torchdiff.get_target("gmm2d").sample(40, seed=1)
    np.save(tmp_path / "x.npy", x.numpy())
    known = spectra.pca(x)
    centred = x - x.mean(0)
    values = torch.linalg.eigvalsh(centred.T @ centred / 40).flip(0)
    np.testing.assert_allclose(known.variance, values, rtol=1e-12)  # the same sums in another order
    target = torchdiff.get_target(f"empirical:data=({tmp_path / 'x.npy'})")
    np.testing.assert_allclose(target.spectrum()[0], values, rtol=1e-12)
    net = torchdiff.get_target("gmm2d").denoiser("vp")
    (cell,) = bench.run(net=net, data=x, solvers="ddim", calls=4, seeds=0, count=20, metrics="sliced_w2:directions=2")
    exact = gaussian.w2(torchdiff.plan("vp", "ddim", calls=4, prediction=net.prediction), *known)
    assert cell["exact_w2"] == pytest.approx(exact, rel=1e-12)
