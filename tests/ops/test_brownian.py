"""Brownian increments: one path for each seed, exact in law, the same bits however they are asked for."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.library import opcheck

from torchdiff import noise, ops
from torchdiff.counters import TICKS
from torchdiff.ops import paths
from torchdiff.ticks import normals_per_element, rounded, ticks_of

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
HORIZONS = (1.0, 0.37, 3.0, 1e-6)  # powers of two and not, large and small


def moments_of(s, t):
    """The integrands a + b r on [low, high] whose integrals against dW are W(t) - W(s) and its integral, as written."""
    sign, low, high = (1.0, s, t) if s <= t else (-1.0, t, s)
    return [(sign, 0.0, low, high), (sign * t, -sign, low, high)]


def covariance(f, g):
    """The integral of the product of two linear functions: Gauss's rule of two points is exact for it."""
    low, high = max(f[2], g[2]), min(f[3], g[3])
    if low >= high:
        return 0.0
    middle, reach = 0.5 * (low + high), 0.5 * (high - low) / math.sqrt(3.0)
    return 0.5 * (high - low) * sum((f[0] + f[1] * r) * (g[0] + g[1] * r) for r in (middle - reach, middle + reach))


def exact(times):
    """The covariance matrix of (dW_0, dI_0, dW_1, dI_1, ...) over consecutive times."""
    functions = [f for s, t in itertools.pairwise(times) for f in moments_of(s, t)]
    return np.array([[covariance(f, g) for g in functions] for f in functions])


LAWS = {
    "a grid": (1.0, [k / 5 for k in range(6)]),
    "a falling grid": (2.5, [2.5, 1.7, 1.1, 0.3, 0.0]),
    "overlapping intervals": (0.7, [0.1, 0.6, 0.2, 0.7, 0.35]),
    "dyadic cells": (1.0, [0.0, 0.25, 0.5, 0.625, 1.0, 0.75]),
    "short intervals": (1.0, [0.3, 0.3 + 3e-7, 0.3 + 1e-3, 0.3 + 1e-3 + 2.0**-24]),
}


@pytest.mark.parametrize(("horizon", "times"), LAWS.values(), ids=LAWS)
def test_increments_and_integrals_have_their_law(horizon, times):
    """Means and covariances of all (dW, dI) are exact: each within 5 standard errors at N = 200 000 elements.

    The standard error of a covariance of normals is sqrt((C_ii C_jj + C_ij^2) / N).
    """
    count, rest = 200_000, 10 if ops.backend().name == "extension" else 1
    size = (rest, count // 10)
    w, i = noise.brownian(size, times, seed=3, horizon=horizon, integral=True, dtype=torch.float64)
    values = torch.stack([w, i], dim=1).reshape(2 * (len(times) - 1), -1).numpy()
    law, count = exact(rounded(times, horizon)), values.shape[1]
    found = values @ values.T / count
    spread = np.sqrt((np.outer(np.diag(law), np.diag(law)) + law**2) / count)
    assert (np.abs(found - law) <= 5.0 * spread).all(), np.abs(found - law).max()
    assert (np.abs(values.mean(axis=1)) <= 5.0 * np.sqrt(np.diag(law) / count)).all()


def test_middle_given_the_ends_is_a_bridge():
    """W(m) - W(s) given (dW, dI) over [s, t] is normal with the bridge's mean and variance; what is left is new noise.

    The Kolmogorov-Smirnov distance is below its quantile of 1 - 1e-6; correlations with the ends within 5 / sqrt(N).
    """
    s, m, t = rounded([0.2137, 0.4, 0.771], 1.0)
    size = (1, 100_000)
    w, i = noise.brownian(size, [s, t], seed=8, horizon=1.0, integral=True, dtype=torch.float64)
    inner = noise.brownian(size, [s, m], seed=8, horizon=1.0, dtype=torch.float64).flatten().numpy()
    ends = np.stack([w.flatten().numpy(), i.flatten().numpy()])
    functions = [*moments_of(s, t), moments_of(s, m)[0]]
    law = np.array([[covariance(f, g) for g in functions] for f in functions])
    gain = np.linalg.solve(law[:2, :2], law[:2, 2])
    left = (inner - gain @ ends) / math.sqrt(law[2, 2] - gain @ law[:2, 2])
    assert stats.kstest(left, "norm").statistic <= math.sqrt(math.log(2e6) / (2 * left.size))
    for end, variance in zip(ends, np.diag(law), strict=False):
        assert abs((left * end).mean()) <= 5.0 * math.sqrt(variance / left.size)


def test_halves_of_a_cell_follow_from_the_rule():
    """The two halves that the formulas make of a cell are independent pairs with the right variances, exactly.

    The pairs are linear in (w, H, Z, N) of variances h, h / 12, h / 16 and h / 48, here in units of h / 48.
    """
    rows = 0.25 * np.array([[2, 6, 4, 0], [0, 1, -2, 4], [2, -6, -4, 0], [0, 1, -2, -4]])  # w1, H1, w2, H2
    found = rows @ np.diag([48, 4, 3, 1]) @ rows.T
    assert (found == np.diag([24, 2, 24, 2])).all()  # h / 2 and h / 24
    assert ((rows[1] + rows[3] + 0.5 * (rows[0] + rows[2]) + rows[0]) / 2 == [0.5, 1, 0, 0]).all()  # the whole integral


def test_paths_seeds_samples_and_elements_are_independent():
    """The increments of another path, seed, sample or element are uncorrelated with these: |r| <= 5 / sqrt(N)."""
    times, count = [0.0, 0.3, 1.0], 50_000

    def path(**change):
        w = noise.brownian((1, count), times, **{"seed": 1, "horizon": 1.0, "dtype": torch.float64, **change})
        return w[:, 0]

    base = path()
    others = {name: path(**{name: 2}) for name in ("seed", "first_index", "path")} | {"element": base.roll(1, dims=-1)}
    for name, other in others.items():
        r = (base * other).mean(dim=-1) / torch.tensor([0.3, 0.7])
        assert r.abs().max() <= 5.0 / math.sqrt(count), name


def ulp(*values):
    """The spacing of floats at the largest of these magnitudes, element by element."""
    largest = torch.stack([v.abs() for v in values]).amax(dim=0)
    return torch.nextafter(largest, torch.full_like(largest, torch.inf)) - largest


@settings(max_examples=100)
@given(times=st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3), scale=st.sampled_from(HORIZONS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_increments_add_up(dtype, times, scale):
    """dW(s, u) = dW(s, t) + dW(t, u) to 2 ulp of the largest: three roundings of at most half an ulp, and the sum's.

    dI(s, u) = dI(s, t) + dI(t, u) + (u - t) dW(s, t) to 2 ulp in float32, four roundings of half an ulp each; to 6 in
    float64, where each dI is itself rounded up to three times.
    """
    ticks = ticks_of([t * scale for t in times], scale)
    times = rounded([t * scale for t in times], scale)
    seeds, ends = torch.tensor([77]), torch.tensor([times[0], *times], dtype=torch.float64)[[1, 2, 3, 1]]
    (w, tail, back), (i, tail_i, _) = ops.brownian([2, 9], seeds, 0, 0, ends, scale, True, dtype)
    bound = ulp(w, tail, back).double()
    assert ((w.double() + tail.double() + back.double()).abs() <= 2.0 * bound).all()
    (whole,), (whole_i,) = ops.brownian([2, 9], seeds, 0, 0, ends[[0, 2]], scale, True, dtype)
    assert torch.equal(whole, -back)
    push = (ticks[2] - ticks[1]) * (scale / TICKS) * w.double()  # times[2] - times[1] would lose digits
    error = (whole_i.double() - (i.double() + tail_i.double() + push)).abs()
    largest = ulp(whole_i, i, tail_i, push.to(dtype)).double()
    assert (error <= (2.0 if dtype == torch.float32 else 6.0) * largest).all()


def some_times(horizon):
    """Times of every kind: any, dyadic, the ends, neighbours of a tick, repeated."""
    ticks = st.integers(0, TICKS) | st.sampled_from([0, 1, TICKS // 2, 3 * TICKS // 4, TICKS - 1, TICKS])
    ticks = ticks | st.integers(0, 64).map(lambda k: k * (TICKS // 64))
    return ticks.map(lambda tick: tick * (horizon / TICKS))


@st.composite
def calls(draw):
    """Arguments of ops.brownian."""
    horizon = draw(st.sampled_from(HORIZONS))
    times = torch.tensor(draw(st.lists(some_times(horizon), min_size=1, max_size=4)), dtype=torch.float64)
    shape = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3) | st.sampled_from([[3, 5], [2, 8], [70, 3], [1]]))
    seeds = draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=shape[0], max_size=shape[0]))
    seeds = torch.tensor(seeds if draw(st.booleans()) else [draw(st.integers(-(2**63), 2**63 - 1))], dtype=torch.int64)
    index, path = draw(st.integers(0, 2**62)), draw(st.integers(0, 4095))
    return shape, seeds, index, path, times, horizon, draw(st.booleans()), draw(st.sampled_from(DTYPES))


def same_bits(mine, theirs):
    """Equal shapes, dtypes and values, and -0 does not equal 0."""
    pairs = list(zip(mine, theirs, strict=True))
    same = [(a.shape, a.dtype) == (b.shape, b.dtype) and bool((a == b).all()) for a, b in pairs]
    return all(same) and all(torch.equal(a.signbit(), b.signbit()) for a, b in pairs)


@settings(max_examples=40)
@given(arguments=calls())
def test_kernel_equals_reference(arguments):
    """Any shape, times, horizon, path and seeds: the op gives the reference's bits."""
    assert same_bits(ops.brownian(*arguments), paths.brownian(*arguments))


@settings(max_examples=60)
@given(arguments=calls())
def test_every_level_gives_the_same_bits(arguments):
    """The loops for any CPU, for AVX2 and for AVX-512: one result."""
    if ops.backend().name != "extension":
        pytest.skip("compiled code only")
    from torchdiff import _C

    expected = ops.brownian(*arguments)
    for level in _C.simd_levels():
        assert same_bits(torch.ops.torchdiff._brownian_by(level, *arguments), expected), level


@settings(max_examples=60)
@given(st.data())
def test_order_and_grouping_do_not_change_bits(data):
    """Each interval of any list of times, asked for alone or backwards, has the bits that it has within the list.

    Backwards means -dW, bit for bit; whether the integrals are asked for changes nothing.
    """
    horizon = data.draw(st.sampled_from(HORIZONS))
    times = data.draw(st.lists(some_times(horizon), min_size=2, max_size=12))
    if data.draw(st.booleans()):
        times.sort(reverse=data.draw(st.booleans()))
    dtype = data.draw(st.sampled_from(DTYPES))

    def ask(times, integral=True):
        ends = torch.tensor(times, dtype=torch.float64)
        return ops.brownian([3, 7], torch.tensor([12]), 5, 2, ends, horizon, integral, dtype)

    w, i = ask(times)
    assert torch.equal(ask(times, integral=False)[0], w)
    for k, (s, t) in enumerate(itertools.pairwise(times)):
        alone_w, alone_i = ask([s, t])
        assert torch.equal(alone_w[0], w[k])
        assert torch.equal(alone_i[0], i[k])
        assert torch.equal(ask([t, s])[0][0], -w[k])


@settings(max_examples=8)
@given(cut=st.integers(0, 12), event=st.sampled_from([(5,), (4,), (3, 3), ()]), each=st.booleans())
def test_rows_do_not_depend_on_the_batch(cut, event, each):
    """Any split of the batch gives the same rows, and a sample alone is what it is among others."""
    seeds = torch.arange(12) * 7919 + 1 if each else 4
    times = [0.1, 0.9, 0.4]
    whole = noise.brownian((12, *event), times, seed=seeds, first_index=3, horizon=1.0)
    for part in (slice(0, cut), slice(cut, 12), *(slice(k, k + 1) for k in range(12))):
        rows = whole[:, part]
        mine, first = (seeds[part], 3) if isinstance(seeds, torch.Tensor) else (seeds, 3 + part.start)
        alone = noise.brownian((rows.shape[1], *event), times, seed=mine, first_index=first, horizon=1.0)
        assert torch.equal(alone, rows)


def test_threads_do_not_change_bits():
    """1, 2 and 8 threads give the same bits, on a tensor large enough to be shared out."""
    before, results = torch.get_num_threads(), []
    size = (5, 3001) if ops.backend().name == "extension" else (2, 30)
    try:
        for threads in (1, 2, 8):
            torch.set_num_threads(threads)
            results.append(noise.brownian(size, [0.2, 0.3, 0.8], seed=1, horizon=1.0, integral=True))
    finally:
        torch.set_num_threads(before)
    assert same_bits(results[0], results[1])
    assert same_bits(results[0], results[2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_rounded_from_float32(dtype):
    """float16 and bfloat16 increments are the rounded float32 ones."""
    whole = noise.brownian((3, 50), [0.0, 0.7], seed=1, horizon=1.0, dtype=torch.float32)
    assert torch.equal(noise.brownian((3, 50), [0.0, 0.7], seed=1, horizon=1.0, dtype=dtype), whole.to(dtype))


def test_an_ulp_outside_is_the_end():
    """Times off the ends by an ulp of the horizon, as t - n * h leaves them, are the ends."""
    for horizon in HORIZONS:
        ulp = horizon * 2.0**-52
        off = noise.brownian((2, 3), [-ulp, horizon + ulp], seed=1, horizon=horizon)
        assert torch.equal(off, noise.brownian((2, 3), [0.0, horizon], seed=1, horizon=horizon))


def test_what_rounds_to_nothing_is_zero():
    """Two times of one tick have increment and integral 0; a tick further there is an increment."""
    w, i = noise.brownian((2, 9), [0.3, 0.3 + 1e-9, 0.3 + 7e-8], seed=1, horizon=1.0, integral=True)
    assert (w[0] == 0).all()
    assert (i[0] == 0).all()
    assert (w[1] != 0).all()


@given(st.lists(some_times(1.0), min_size=1, max_size=8), st.booleans())
def test_cost_is_the_cells_that_the_walks_enter(times, falling):
    """On a grid each cell below the root costs two normals once, however many times lie in it, as does the root."""
    times.sort(reverse=falling)
    visited = set()
    for tick in ticks_of(times, 1.0):
        level = 0
        while tick % (TICKS >> level):
            level += 1
            visited.add((level, tick // (TICKS >> level)))
    assert normals_per_element(times, 1.0, integral=True) == 2 + 2 * len(visited)
    assert 2 + len(visited) <= normals_per_element(times, 1.0) <= 2 + 2 * len(visited)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("integral", [False, True])
@pytest.mark.parametrize("shape", [[3, 5], [0, 2], [1], [2, 0]])
def test_opcheck(shape, integral, dtype):
    """All of opcheck on the op."""
    times = torch.tensor([0.1, 0.5, 0.2], dtype=torch.float64)
    given = (shape, torch.tensor([3]), 4, 5, times, 1.0, integral, dtype)
    assert set(opcheck(torch.ops.torchdiff.brownian.default, given).values()) == {"SUCCESS"}


GOOD = {
    "shape": [3, 4],
    "seeds": torch.zeros(1, dtype=torch.int64),
    "first_index": 0,
    "path": 0,
    "times": torch.tensor([0.0, 1.0], dtype=torch.float64),
    "horizon": 1.0,
    "integral": False,
    "dtype": torch.float32,
}
WRONG = [
    ({"shape": []}, "shape is empty"),
    ({"shape": [3, -1]}, "negative number"),
    ({"shape": [1, 2**34 + 1]}, "noise counter ends at 2\\^34"),
    ({"shape": [1, 2**40, 2**40]}, "noise counter ends at 2\\^34"),
    ({"seeds": torch.zeros(2, dtype=torch.int64)}, r"seeds has shape \(2,\)"),
    ({"seeds": torch.zeros(0, dtype=torch.int64)}, r"seeds has shape \(0,\)"),
    ({"seeds": torch.zeros(1)}, "seeds has dtype"),
    ({"first_index": -3}, "first_index is -3"),
    ({"path": -1}, "path is -1"),
    ({"path": 4096}, "path is 4096; expected 0 to 4095"),
    ({"times": torch.zeros(2)}, "times has dtype"),
    ({"times": torch.zeros(2, dtype=torch.float64, device="meta")}, "times is on meta, expected cpu"),
    ({"times": torch.zeros((), dtype=torch.float64)}, "times has shape"),
    ({"times": torch.zeros(0, dtype=torch.float64)}, "times has shape"),
    ({"times": torch.zeros(1, 2, dtype=torch.float64)}, "times has shape"),
    ({"times": torch.tensor([0.0, 1.0 + 2.0**-51], dtype=torch.float64)}, r"times\[1\] = 1 is outside \[0, 1\]"),
    ({"times": torch.tensor([-1e-9, 1.0], dtype=torch.float64)}, r"times\[0\] = -1e-09 is outside"),
    ({"times": torch.tensor([0.0, torch.nan], dtype=torch.float64)}, r"times\[1\] = nan is outside"),
    ({"horizon": 0.0}, "horizon is 0"),
    ({"horizon": math.inf}, "horizon is inf"),
    ({"horizon": math.nan}, "horizon is nan"),
    ({"dtype": torch.int32}, "dtype"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
@pytest.mark.parametrize("op", [ops.brownian, paths.brownian], ids=["op", "reference"])
def test_wrong_arguments_are_refused_by_name(op, change, message):
    """A wrong device, dtype, shape or value raises an error with the argument's name, in C++ and Python in one text."""
    with pytest.raises((ValueError, RuntimeError), match="brownian: .*" + message):
        op(*{**GOOD, **change}.values())


def test_traced_whole():
    """torch.compile keeps the op in one graph, for several batch sizes, with the eager bits."""
    times, seeds = torch.tensor([0.1, 0.5], dtype=torch.float64), torch.tensor([3])

    def double(x):
        return ops.brownian(x.shape, seeds, 0, 0, times, 1.0, False, torch.float32)[0][0] + x

    step = torch.compile(double, backend="aot_eager", fullgraph=True)
    for batch in (2, 3, 5):
        x = torch.ones(batch, 4)
        assert torch.equal(step(x), double(x))
