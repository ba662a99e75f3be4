"""The integer half of the noise: Philox4x32-10 and what is put into its counter and key."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchdiff.ops.philox import philox, words

VECTORS = [
    [int(word, 10 if i == 0 else 16) for i, word in enumerate(line.split())]
    for line in (Path(__file__).parents[1] / "data" / "philox4x32.txt").read_text().splitlines()
    if not line.startswith("#")
]
MASK = 0xFFFFFFFF


def python_philox(counter, key, rounds=10):
    tensors = [torch.from_numpy(np.asarray(a, dtype=np.int64)) for a in (*np.transpose(counter), *np.transpose(key))]
    return torch.stack(philox(tuple(tensors[:4]), tuple(tensors[4:]), rounds), dim=-1).numpy()


def oracle(counter, key, rounds=10):
    """Philox4x32 as its paper writes it, on Python integers or on arrays of uint64."""
    c, k = list(counter), list(key)
    for _ in range(rounds):
        left, right = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(right >> 32) ^ c[1] ^ k[0], right & MASK, (left >> 32) ^ c[3] ^ k[1], left & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


@pytest.mark.parametrize("vector", VECTORS, ids=("zeros", "ones", "pi"))
def test_python_philox_matches_random123(vector):
    """The plain torch Philox gives Random123's known answers."""
    rounds, counter, key, expected = vector[0], vector[1:5], vector[5:7], vector[7:]
    assert python_philox([counter], [key], rounds)[0].tolist() == expected


@pytest.mark.parametrize("vector", VECTORS, ids=("zeros", "ones", "pi"))
def test_compiled_philox_matches_random123(vector, extension):
    """The C++ Philox gives Random123's known answers."""
    rounds, counter, key, expected = vector[0], vector[1:5], vector[5:7], vector[7:]
    assert extension.philox([counter], [key], rounds)[0].tolist() == expected


def random_counters(count):
    rng = np.random.default_rng(1)
    return rng.integers(0, 2**32, (count, 4), dtype=np.uint64), rng.integers(0, 2**32, (count, 2), dtype=np.uint64)


def test_compiled_philox_matches_the_paper(extension):
    """A million random counters and keys: no word differs between C++ and an independent uint64 Philox."""
    counter, key = random_counters(1_000_000)
    expected = np.stack(oracle(counter.T, key.T), axis=1)
    assert (extension.philox(counter.astype(np.uint32), key.astype(np.uint32)) == expected).all()


def test_python_philox_matches_the_paper():
    """A million random counters and keys: no word differs between plain torch and an independent uint64 Philox."""
    counter, key = random_counters(1_000_000)
    assert (python_philox(counter, key) == np.stack(oracle(counter.T, key.T), axis=1)).all()


u64 = st.integers(0, 2**64 - 1)


@settings(max_examples=100, deadline=None)
@given(seed=u64, first=st.integers(0, 2**63 - 1), draw=u64, row=st.integers(0, 3), block=st.integers(0, 5))
def test_words_come_from_the_documented_counter(seed, first, draw, row, block):
    """Counter (block, draw mod 2^32, sample low, sample high); key = seed + (draw >> 32) * GOLDEN mod 2^64."""
    signed = [n - 2**64 if n >= 2**63 else n for n in (seed, draw)]
    result = words(4, 6, torch.tensor(signed[:1]), first, torch.tensor(signed[1:]))
    key = (seed + (draw >> 32) * 0x9E3779B97F4A7C15) % 2**64
    sample = first + row
    expected = oracle((block, draw & MASK, sample & MASK, sample >> 32), (key & MASK, key >> 32))
    assert [int(word[row, block]) for word in result] == expected
