"""The maps from words to radius and direction: their accuracy, their ends, and their bits in every implementation."""

import numpy as np
import pytest
import torch

from torchdiff.ops import boxmuller
from torchdiff.ops.fma import fma32

HALF = 2**31
UPPER = round(0.5**0.5 * 2**32)  # where the logarithm changes its branch


def sample_words():
    """Both ends, every change of branch of the maps, and 200 000 random words."""
    fold = round((1 - 0.5**0.5) * 2**32)
    turns, octaves = [k * 2**29 for k in range(1, 8)], [2**k for k in range(8, 32)]
    edges = [0, 2**32 - 1000, HALF, UPPER, fold, *turns, *octaves]
    near = [np.clip(np.arange(edge - 1000, edge + 1000), 0, 2**32 - 1) for edge in edges]
    return np.unique(np.concatenate([*near, np.random.default_rng(2).integers(0, 2**32, 200_000)])).astype(np.uint32)


def python_maps(words, dtype):
    w = torch.from_numpy(words.astype(np.int64))
    radius, direction = (getattr(boxmuller, name + dtype) for name in ("radius", "direction"))
    return [t.numpy() for t in (radius(w), *direction(torch.zeros_like(w), w))]


def exact_maps(words):
    """Radius and both normals of radius 1 in 80-bit arithmetic, from the exact distances to 1 and to the middle."""
    a = (words >> 1).astype(np.longdouble) + np.longdouble(0.5)
    upper = words >= HALF
    log = np.where(upper, np.log1p(-np.where(upper, 2**31 - a, 0) / 2**31), np.log(np.where(upper, 1, a / 2**31)))
    b = (words.astype(np.int64) + 2**30) % 2**31
    angle = ((b.astype(np.longdouble) + np.longdouble(0.5)) / 2**31 - np.longdouble(0.5)) * (
        np.longdouble("3.14159265358979323846264338327950288") / 2
    )
    cos, sin = np.cos(angle), np.sin(angle)
    return np.sqrt(-2 * log), np.where(upper, sin, cos), np.where(upper, cos, sin)


# float32: 2 ulp is the promise, see make check-normals for all 2^32 words.
# float64: no promise but "near 1e-15"; 1.0 and 1.3 ulp measured on this sample.
@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="needs an 80-bit long double as the judge")
@pytest.mark.parametrize("dtype", ["32", "64"])
def test_maps_are_within_two_ulp(dtype):
    """Radius and both directions lie within 2 ulp of exact values, at the ends and at every change of branch too."""
    words = sample_words()
    for name, mine, exact in zip(
        ("radius", "first", "second"), python_maps(words, dtype), exact_maps(words), strict=True
    ):
        ulp = np.spacing(np.abs(exact.astype(mine.dtype)))
        error = np.abs(mine - exact) / ulp
        assert error.max() <= 2, (name, int(words[error.argmax()]), float(error.max()))


@pytest.mark.parametrize("dtype", ["32", "64"])
def test_compiled_maps_equal_plain_torch(dtype, extension):
    """The C++ maps and the plain torch maps agree bit for bit."""
    words = sample_words()
    words = words[: len(words) // 16 * 16]
    levels = [{"simd": level} for level in extension.simd_levels()] if dtype == "32" else [{}]
    for level in levels:
        compiled = getattr(extension, f"maps{dtype}")(words, **level)
        for name, mine, theirs in zip(("radius", "first", "second"), python_maps(words, dtype), compiled, strict=True):
            assert (mine == theirs).all(), (name, level)


@pytest.mark.parametrize("dtype", ["32", "64"])
@pytest.mark.parametrize("run", [False, True], ids=["counters", "run"])
def test_simd_levels_agree(dtype, run, extension):
    """Every instruction set that this machine runs gives the bits of plain torch, for full and partly filled chunks."""
    normals = getattr(extension, f"normals{dtype}")
    levels = extension.simd_levels()
    assert levels[0] == "portable"
    for blocks in (1, 7, 16, 33, 256):
        arguments = {"sample": 2**40, "draw": 2**33 + 1, "first_block": 2**32 - 100, "blocks": blocks, "run": run}
        results = [normals(3, **arguments, simd=level) for level in levels]
        assert all((result == results[0]).all() for result in results)
        counters = [np.full(blocks, c, dtype=np.uint32) for c in (0, 1, 0, 2**8)]
        counters[0] = (2**32 - 100 + np.arange(blocks)).astype(np.uint32)
        key = 3 + 2 * 0x9E3779B97F4A7C15
        keys = np.array([[key % 2**32, key // 2**32 % 2**32]] * blocks, dtype=np.uint32)
        words = extension.philox(np.stack(counters, 1), keys).astype(np.int64)
        expected = boxmuller.box_muller(tuple(torch.from_numpy(words.T.copy())), getattr(torch, f"float{dtype}"))
        assert (results[0] == expected.numpy()).all()


def test_row_sums_agree(extension):
    """The row sums of every instruction set, for counts around a pack and with weights of all sizes."""
    g = np.random.default_rng(3)
    for columns in (1, 2, 3, 7, 40):
        for count in (0, 1, 15, 16, 17, 63, 64, 65, 255):
            values = g.standard_normal((columns, count)).astype(np.float32)
            weights = g.standard_normal(columns) * 10.0 ** g.integers(-6, 3, columns)
            results = [extension.row_sum(values, weights, simd=level) for level in extension.simd_levels()]
            assert all((result == results[0]).all() for result in results)


@pytest.mark.parametrize("dtype", ["32", "64"])
def test_ends_of_the_radius(dtype):
    """The largest radius is sqrt(64 ln 2) = 6.6604, the smallest is above zero, and radius falls with the word."""
    edges = (0, 2, 4, HALF - 2, HALF, UPPER - 4, UPPER - 2, UPPER, UPPER + 2, 2**32 - 6, 2**32 - 4, 2**32 - 2)
    words = np.array([*edges, 2**32 - 1], dtype=np.uint32)
    radius = python_maps(words, dtype)[0]
    assert abs(radius[0] - (64 * np.log(2)) ** 0.5) < 1e-6
    assert (np.diff(radius) <= 0).all()
    assert radius[-1] > 2e-5  # sqrt(2^-31)


def test_directions_are_symmetric():
    """Over all words each normal is as often positive as negative: the angle is odd, the sign bit turns the rest."""
    words = torch.from_numpy(sample_words().astype(np.int64))
    mirror = words ^ 0x7FFFFFFF  # the angle on the other side of the middle
    zero, one = torch.zeros_like(words), torch.ones_like(words)
    straight, flipped = boxmuller.direction32(zero, words), boxmuller.direction32(one, mirror)
    for a, b in zip(straight, flipped, strict=True):
        assert torch.equal(a, -b)


def test_fma32_rounds_once():
    """A sum that float64 rounds onto a tie of float32 still goes to the side of the exact sum."""
    # The products miss 2^-24, half a float32 step at 1, by 2^-56 and 2^-60: less than a float64 step there.
    below = (2.0**-24 * (1 + 2.0**-16), 1 - 2.0**-16)
    above = (2.0**-24 * (1 + 2.0**-12), 1 - 2.0**-12 + 2.0**-24)
    odd = 1 + 2.0**-23  # the even neighbour, where ties go, is above it; that of 1 is 1 itself
    for (a, b), c, expected in ((below, odd, odd), (above, 1.0, odd), ((below[0], -below[1]), -odd, -odd)):
        assert fma32(torch.tensor([a]), torch.tensor([b]), c).item() == expected


def test_fma32_rounds_subnormals_once():
    """Subnormal results, overflow, infinities and nan are those of the exact sum, rounded once."""
    tie = (
        2.0**-75 + 2.0**-98
    )  # its square is 2^-150 + 2^-172 + 2^-196: above half of the least float32, which it must become
    assert fma32(torch.tensor([tie]), torch.tensor([tie]), 0.0).item() == 2.0**-149
    assert fma32(torch.tensor([2.0**-75]), torch.tensor([2.0**-75]), 0.0).item() == 0.0  # a tie, to even
    assert fma32(torch.tensor([2.0**100]), torch.tensor([2.0**100]), 0.0).item() == float("inf")
    assert fma32(torch.tensor([float("inf")]), torch.tensor([1.0]), 1.0).item() == float("inf")
    assert fma32(torch.tensor([float("inf")]), torch.tensor([0.0]), 1.0).isnan().item()
