"""The maps from words to radius, cos and sin: their accuracy, their ends, and their bits in every implementation."""

import numpy as np
import pytest
import torch

from torchdiff.ops import boxmuller

HALF = 2**31


def sample_words():
    """Both ends, every change of branch of the maps, and 200 000 random words."""
    fold = round((1 - 0.5**0.5) * 2**32)
    turns, octaves = [k * 2**29 for k in range(1, 8)], [2**k for k in range(8, 32)]
    edges = [0, 2**32 - 1000, HALF, fold, 2**32 - fold, *turns, *octaves]
    near = [np.clip(np.arange(edge - 1000, edge + 1000), 0, 2**32 - 1) for edge in edges]
    return np.unique(np.concatenate([*near, np.random.default_rng(2).integers(0, 2**32, 200_000)])).astype(np.uint32)


def python_maps(words, dtype):
    r = torch.from_numpy(words.astype(np.int64))
    radius, angle = (getattr(boxmuller, name + dtype) for name in ("radius", "angle"))
    return [t.numpy() for t in (radius(r), *angle(r))]


def exact_maps(words):
    """Radius, cos and sin in 80-bit arithmetic, from the exact distances to 1 and to a quarter turn."""
    r = words.astype(np.longdouble) + np.longdouble(0.5)
    upper = words >= HALF
    log = np.where(upper, np.log1p(-np.where(upper, 2**32 - r, 0) / 2**32), np.log(np.where(upper, 1, r / 2**32)))
    quarter = np.rint(r / 2**30)
    rest = (r / 2**30 - quarter) * (np.longdouble("3.14159265358979323846264338327950288") / 2)
    cos, sin = np.cos(rest), np.sin(rest)
    choice = quarter.astype(int) % 4
    return np.sqrt(-2 * log), np.choose(choice, [cos, -sin, -cos, sin]), np.choose(choice, [sin, cos, -sin, -cos])


# float32: 2 ulp is the promise, 1.6 (radius) and 1.4 (angle) measured over all 2^32 words.
# float64: no promise but "near 1e-15"; 1.0 and 1.3 ulp measured on this sample.
@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="needs an 80-bit long double as the judge")
@pytest.mark.parametrize("dtype", ["32", "64"])
def test_maps_are_within_two_ulp(dtype):
    """Radius, cos and sin lie within 2 ulp of exact values, at the ends and at every change of branch too."""
    words = sample_words()
    for name, mine, exact in zip(("radius", "cos", "sin"), python_maps(words, dtype), exact_maps(words), strict=True):
        ulp = np.spacing(np.abs(exact.astype(mine.dtype)))
        error = np.abs(mine - exact) / ulp
        assert error.max() <= 2, (name, int(words[error.argmax()]), float(error.max()))


@pytest.mark.parametrize("dtype", ["32", "64"])
def test_compiled_maps_equal_plain_torch(dtype, extension):
    """The C++ maps and the plain torch maps agree bit for bit."""
    words = sample_words()
    compiled = getattr(extension, f"maps{dtype}")(words)
    for name, mine, theirs in zip(("radius", "cos", "sin"), python_maps(words, dtype), compiled, strict=True):
        assert (mine == theirs).all(), name


@pytest.mark.parametrize("dtype", ["32", "64"])
def test_simd_levels_agree(dtype, extension):
    """Every instruction set that this machine runs gives the same normals, for full and for partly filled chunks."""
    normals = getattr(extension, f"normals{dtype}")
    for blocks in (1, 7, 64):
        results = [
            normals(3, sample=2**40, draw=2**33 + 1, first_block=5, blocks=blocks, simd=level)
            for level in extension.simd_levels()
        ]
        assert all((result == results[0]).all() for result in results)


@pytest.mark.parametrize("dtype", ["32", "64"])
def test_ends_of_the_radius(dtype):
    """The largest radius is sqrt(66 ln 2) = 6.7637, the smallest is above zero, and radius falls with the word."""
    words = np.array([0, 1, 2, HALF - 1, HALF, 2**32 - 3, 2**32 - 2, 2**32 - 1], dtype=np.uint32)
    radius = python_maps(words, dtype)[0]
    assert abs(radius[0] - (66 * np.log(2)) ** 0.5) < 1e-6
    assert (np.diff(radius) <= 0).all()
    assert radius[-1] > 1.5e-5


def test_angles_are_symmetric():
    """A half turn flips both signs exactly, so the mean over all words is exactly zero."""
    words = sample_words()
    _, cos, sin = python_maps(words, "32")
    _, cos2, sin2 = python_maps(words + np.uint32(HALF), "32")
    assert (cos == -cos2).all()
    assert (sin == -sin2).all()


def test_fma32_rounds_once():
    """A sum that float64 rounds onto a tie of float32 still goes to the side of the exact sum."""
    # The products miss 2^-24, half a float32 step at 1, by 2^-56 and 2^-60: less than a float64 step there.
    below = (2.0**-24 * (1 + 2.0**-16), 1 - 2.0**-16)
    above = (2.0**-24 * (1 + 2.0**-12), 1 - 2.0**-12 + 2.0**-24)
    odd = 1 + 2.0**-23  # the even neighbour, where ties go, is above it; that of 1 is 1 itself
    for (a, b), c, expected in ((below, odd, odd), (above, 1.0, odd), ((below[0], -below[1]), -odd, -odd)):
        assert boxmuller.fma32(torch.tensor([a]), torch.tensor([b]), c).item() == expected
