"""Noise as a pure function of (seed, sample, draw, element): its layout, its independence, its law."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from torchdiff import noise, ops

MASK = 0xFFFFFFFF
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
FIELDS = {"purpose": 8, "step": 2**49, "part": 8, "call": 32, "block": 16}
fields = st.fixed_dictionaries({name: st.integers(0, size - 1) for name, size in FIELDS.items()})
u64 = st.integers(0, 2**64 - 1)


def philox(counter, key):
    """Philox4x32-10 as its paper writes it, on Python integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        left, right = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(right >> 32) ^ c[1] ^ k[0], right & MASK, (left >> 32) ^ c[3] ^ k[1], left & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


@settings(max_examples=200, deadline=None)
@given(seed=u64, first=st.integers(0, 2**63 - 1), draw=u64, row=st.integers(0, 2), element=st.integers(0, 17))
def test_noise_is_its_definition(seed, first, draw, row, element):
    """An independent Philox and Box-Muller in Python's floats give the same normal: this is noise version 1."""
    key = (seed + (draw >> 32) * 0x9E3779B97F4A7C15) % 2**64
    sample = first + row
    words = philox((element // 4, draw & MASK, sample & MASK, sample >> 32), (key & MASK, key >> 32))
    r, w = words[2 * (element % 4 // 2) :][:2]
    u = ((r >> 1) + 0.5) / 2**31
    angle = math.pi / 2 * (((w + 2**30) % 2**31 + 0.5) / 2**31 - 0.5)
    pair = [math.cos(angle) * (-1) ** (r & 1), math.sin(angle)]
    expected = math.sqrt(-2 * math.log(u)) * pair[element % 2 ^ w >> 31]
    z = noise.normal((3, 2, 9), seed=seed, first_index=first, draw=draw, dtype=torch.float64)
    # 2e-15: the rounding of the angle before math.cos, times the largest radius; near u = 1 math.log loses digits that
    # the op keeps, at most 2^-53 / (1 - u) of the radius, and 1 - u >= 2^-32
    slack = 2e-15 + abs(expected) * 2.0**-53 / (1 - u)
    assert abs(z[row].flatten()[element].item() - expected) <= slack
    assert noise.NOISE_VERSION == 1


@settings(max_examples=500, deadline=None)
@given(a=fields, b=fields)
def test_draw_numbers_do_not_collide(a, b):
    """Different (purpose, step, part, call, block) give different numbers below 2^64, and equal ones equal numbers."""
    first, second = noise.draw_number(**a), noise.draw_number(**b)
    assert (first == second) == (a == b)
    assert 0 <= first < 2**64
    unpacked = {"block": first & 15, "call": first >> 4 & 31, "part": first >> 9 & 7, "purpose": first >> 12 & 7}
    assert {**unpacked, "step": first >> 15} == a


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("off", ["below", "above"])
def test_draw_number_refuses_what_does_not_fit(name, off):
    """A field outside its bits is refused by name: it would otherwise be another draw's number."""
    with pytest.raises(ValueError, match=f"draw_number: {name} must"):
        noise.draw_number(**{"purpose": 0, name: -1 if off == "below" else FIELDS[name]})


def test_draws_beyond_32_bits_differ():
    """Draws d, d + 2^32 and d + 2^33 share a counter word and still differ, by their keys."""
    values = [noise.normal((1, 64), seed=1, draw=d) for d in (5, 5 + 2**32, 5 + 2**33, 6)]
    assert len({tuple(v.flatten().tolist()) for v in values}) == 4


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 10), max_size=3), first=st.integers(0, 2**62), event=st.sampled_from([3, 4, 9]))
def test_samples_do_not_depend_on_the_batch(cuts, first, event):
    """Any split of a batch gives the same samples, and so does any one of them alone."""
    whole = noise.normal((10, event), seed=7, first_index=first, draw=2)
    edges = [0, *sorted(cuts), 10]
    parts = [
        noise.normal((end - begin, event), seed=7, first_index=first + begin, draw=2)
        for begin, end in itertools.pairwise(edges)
    ]
    assert torch.equal(torch.cat(parts), whole)


def test_elements_do_not_depend_on_the_shape():
    """The event's shape does not matter, only the row-major index; a shorter event is a prefix of a longer one."""
    long = noise.normal((3, 60), seed=1)
    assert torch.equal(noise.normal((3, 4, 5, 3), seed=1).flatten(1), long)
    for count in (1, 2, 3, 4, 5, 59):
        assert torch.equal(noise.normal((3, count), seed=1), long[:, :count])


def test_a_seed_for_each_sample():
    """Row i under seeds[i] is what seeds[i] alone gives for a batch of one; seeds count mod 2^64."""
    seeds = [3, -1, 2**64 - 1, 2**63]
    rows = noise.normal((4, 5), seed=seeds, first_index=6)
    for seed, row in zip(seeds, rows, strict=True):
        assert torch.equal(noise.normal((1, 5), seed=seed, first_index=6)[0], row)
    assert torch.equal(rows[1], rows[2])
    assert torch.equal(noise.normal((4, 5), seed=torch.tensor([3, -1, -1, -(2**63)]), first_index=6), rows)
    assert torch.equal(noise.normal((4, 5), seed=np.array([3, -1, -1, -(2**63)]), first_index=6), rows)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_noise_is_rounded_float32_noise(dtype):
    """float16 and bfloat16 normals are the float32 ones, rounded."""
    single = noise.normal((3, 1001), seed=9, dtype=torch.float32)
    assert torch.equal(noise.normal((3, 1001), seed=9, dtype=dtype), single.to(dtype))


def test_double_precision_noise_is_the_same_noise():
    """float64 normals are those of float32 with more digits: at most 4 float32 ulp apart, 2^-22 of the value."""
    double = noise.normal((3, 10001), seed=9, dtype=torch.float64)
    single = noise.normal((3, 10001), seed=9, dtype=torch.float32)
    assert ((double - single).abs() <= 2.0**-22 * double.abs()).all()


def test_dtype_follows_torch_default():
    """Without a dtype the result has torch's default one."""
    torch.set_default_dtype(torch.float64)
    try:
        assert noise.normal((1, 2), seed=0).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert noise.normal((1, 2), seed=0).dtype == torch.float32


def test_fresh_seeds_follow_torch_manual_seed():
    """torch.manual_seed decides the seeds, which differ, lie in 63 bits and fill their upper half."""
    torch.manual_seed(5)
    seeds = [noise.fresh_seed() for _ in range(64)]
    torch.manual_seed(5)
    assert [noise.fresh_seed() for _ in range(64)] == seeds
    assert len(set(seeds)) == 64
    assert 2**62 < max(seeds) < 2**63


def test_as_seeds():
    """One int gives one seed, a sequence one a sample, both as int64 with the bits mod 2^64."""
    assert noise.as_seeds(2**64 - 1, 3).tolist() == [-1]
    assert noise.as_seeds([1, 2**63], 2).tolist() == [1, -(2**63)]
    assert noise.as_seeds(torch.tensor(4, dtype=torch.int32), 3).tolist() == [4]
    assert noise.as_seeds(torch.tensor([2**63], dtype=torch.uint64), 1).tolist() == [-(2**63)]
    assert noise.as_seeds([], 0).dtype == torch.int64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": ()}, r"shape is \(\)"),
        ({"shape": (2, -1)}, "shape is"),
        ({"dtype": torch.int64}, "dtype"),
        ({"dtype": torch.complex64}, "dtype"),
        ({"seed": 2**64}, "seed is"),
        ({"seed": -(2**63) - 1}, "seed is"),
        ({"seed": 1.5}, "seed is"),
        ({"seed": True}, "seed is True"),
        ({"seed": "7"}, "seed is"),
        ({"seed": [1]}, "seed holds 1 seeds for a batch of 2"),
        ({"seed": [1, 2.0]}, r"seed\[1\] is"),
        ({"seed": torch.ones(2)}, "seed is a tensor of dtype torch.float32"),
        ({"seed": torch.ones(1, 2).long()}, "seed is a tensor"),
        ({"first_index": -1}, "first_index is -1"),
        ({"draw": -1}, "draw is -1"),
        ({"draw": 2**64}, "draw is"),
    ],
)
def test_normal_refuses_by_name(change, message):
    """A shape, dtype, seed, index or draw that does not fit is refused by name."""
    arguments = {"shape": (2, 3), "seed": 1, **change}
    shape = arguments.pop("shape")
    with pytest.raises((ValueError, RuntimeError), match=message):
        noise.normal(shape, **arguments)


@pytest.fixture(scope="module")
def many():
    """1e7 normals as one float64 array; 1e6 without the extension, which takes 1 s for them."""
    count = 10_000_000 if ops.backend().name == "extension" else 1_000_000
    return noise.normal((100, count // 100), seed=2026).double().flatten().numpy()


# Every bound below is 5 standard errors of its statistic at the number of values at hand; the seed is fixed, and a law
# that holds fails such a test with probability 6e-7.
def test_moments(many):
    """Mean, variance, skewness and excess kurtosis: standard errors 1, sqrt 2, sqrt 15 and sqrt 96 over sqrt N.

    E[z^6] - E[z^3]^2 = 15 and var(z^4) = 96 are those of the raw third and fourth moments, exact for known mean 0.
    """
    root = math.sqrt(len(many))
    squares = many * many
    assert abs(many.mean()) <= 5 / root
    assert abs(squares.mean() - 1) <= 5 * math.sqrt(2) / root
    assert abs((squares * many).mean()) <= 5 * math.sqrt(15) / root
    assert abs((squares * squares).mean() - 3) <= 5 * math.sqrt(96) / root


def test_distribution(many):
    """The Kolmogorov-Smirnov distance to the normal law is below its quantile of 1 - 1e-6, sqrt(ln(2e6) / 2N)."""
    ranks = np.arange(len(many) + 1) / len(many)
    law = special.ndtr(np.sort(many))
    distance = max(np.abs(law - ranks[:-1]).max(), np.abs(law - ranks[1:]).max())
    assert distance <= math.sqrt(math.log(2e6) / (2 * len(many)))


def test_tails(many):
    """Counts beyond 3, 4, 5 and 5.5 lie within the central 1 - 1e-6 of their Poisson laws, on both sides.

    At 1e7, 5.7 values are expected beyond 5 and 0.4 beyond 5.5: torch.randn on CPU ends at 5.768 for good.
    """
    for bound in (3.0, 4.0, 5.0, 5.5):
        for count in ((many > bound).sum(), (many < -bound).sum()):
            low, high = stats.poisson.interval(1 - 1e-6, len(many) * special.ndtr(-bound))
            assert low <= count <= high, (bound, count, low, high)


def test_neighbours_are_uncorrelated():
    """Elements, lanes, draws, samples and seeds next to each other: |correlation| <= 5 / sqrt(N), of squares too.

    Squares would show a radius shared between the two normals of a pair, whose signs are independent all the same.
    """
    count = 100_000
    base = noise.normal((1, count), seed=0, draw=0)[0].double()
    others = {f"lag {lag}": base.roll(lag) for lag in (1, 2, 3, 4, 5, 8, 64, 256)}
    others["draw + 1"] = noise.normal((1, count), seed=0, draw=1)[0].double()
    others["draw + 2^32"] = noise.normal((1, count), seed=0, draw=2**32)[0].double()
    others["sample + 1"] = noise.normal((1, count), seed=0, first_index=1)[0].double()
    others["sample + 2^32"] = noise.normal((1, count), seed=0, first_index=2**32)[0].double()
    others["seed + 1"] = noise.normal((1, count), seed=1)[0].double()
    others["seed + 2^32"] = noise.normal((1, count), seed=2**32)[0].double()
    for name, other in others.items():
        assert abs((base * other).mean()) <= 5 / math.sqrt(count), name
        # var((z^2 - 1)(y^2 - 1)) = 2 * 2
        assert abs(((base**2 - 1) * (other**2 - 1)).mean()) <= 5 * 2 / math.sqrt(count), name
