"""The law of the normals, at length: every word through the maps, and a billion draws against the normal law.

    python tools/check_normals.py maps     all 2^32 words: errors in ulp, and the same bits on every SIMD level
    python tools/check_normals.py law      moments, Kolmogorov-Smirnov distance and tails at 1e9 draws

Prints a table; exits 1 if a figure lies outside its bound. Both take a few minutes on two cores.
"""

from __future__ import annotations

import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import special, stats

from torchdiff import noise
from torchdiff.ops import backend

CHUNK = 1 << 20
WORDS = 1 << 32
DRAWS = 10**9


def exact_maps(words: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Radius and both normals of radius 1, in float64 from the exact distances to the ends and to the middle."""
    a = (words >> 1) + 0.5
    upper = words >= 1 << 31
    log = np.where(upper, np.log1p((a - 2.0**31) / 2.0**31), np.log(a / 2.0**31))
    rest = ((words.astype(np.int64) + 2**30) % 2**31 - 2**30) + 0.5
    angle = rest * (math.pi / 2.0**32)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.sqrt(-2.0 * log), np.where(upper, sin, cos), np.where(upper, cos, sin)


def ulps(found: np.ndarray, exact: np.ndarray) -> float:
    """The largest error in units of the last place of the exact value's float32 neighbour."""
    return float((np.abs(found - exact) / np.spacing(np.abs(exact).astype(np.float32))).max())


def check_chunk(first: int) -> tuple[list[float], dict[str, int], float]:
    """Errors of radius, first and second; words on which a level differs from the portable one; the largest radius."""
    from torchdiff import _C

    words = np.arange(first, first + CHUNK, dtype=np.uint32)
    found = _C.maps32(words, simd="portable")
    finite = all(bool(np.isfinite(values).all()) for values in found)
    errors = [ulps(mine, exact) if finite else math.inf for mine, exact in zip(found, exact_maps(words), strict=True)]
    differ = {}
    for level in _C.simd_levels()[1:]:
        other = _C.maps32(words, simd=level)
        pairs = zip(found, other, strict=True)
        differ[level] = sum(int((a.view(np.uint32) != b.view(np.uint32)).sum()) for a, b in pairs)
    return errors, differ, float(found[0].max())


def maps() -> bool:
    """All words through the float32 maps."""
    worst, differ, largest = [0.0] * 3, {}, 0.0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for errors, different, radius in pool.map(check_chunk, range(0, WORDS, CHUNK)):
            worst = [max(pair) for pair in zip(worst, errors, strict=True)]
            differ = {level: differ.get(level, 0) + count for level, count in different.items()}
            largest = max(largest, radius)
    print(f"all {WORDS} words, float32 against float64            bound")
    for name, error in zip(("radius", "first normal of radius 1", "second"), worst, strict=True):
        print(f"  {name:26} {error:10.4f} ulp               2")
    for level, count in differ.items():
        print(f"  bits of {level:18} {count:10d} differ             0")
    print(f"  {'largest radius':26} {largest:10.4f}                  6.6")
    return max(worst) <= 2.0 and not any(differ.values()) and largest >= 6.6


BINS = 1 << 20  # of the distribution function: the distance is found to 1e-6
TAILS = (3.0, 4.0, 5.0, 5.5, 5.768108, 6.0)


def law_chunk(index: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Sums of the first four powers, counts in bins of equal chance, counts beyond the tails, and the largest |z|."""
    z = noise.normal((1, size), seed=1, first_index=index).numpy()[0].astype(np.float64)
    square = z * z
    sums = np.array([z.sum(), square.sum(), (square * z).sum(), (square * square).sum()])
    counts = np.bincount((special.ndtr(z) * BINS).astype(np.int64), minlength=BINS)
    far = np.abs(z[square > 9.0])
    return sums, counts, np.array([(far > bound).sum() for bound in TAILS]), float(far.max(initial=0.0))


def law(count: int = DRAWS, size: int = 10**7) -> bool:
    """The draws of `count // size` samples of one seed; bounds at 5 standard errors, or a chance of 1e-6."""
    sums, counts, beyond = np.zeros(4), np.zeros(BINS, dtype=np.int64), np.zeros(len(TAILS))
    largest = 0.0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for a, b, c, d in pool.map(law_chunk, range(count // size), [size] * (count // size)):
            sums, counts, beyond, largest = sums + a, counts + b, beyond + c, max(largest, d)
    fine = []

    def row(name: str, value: float, low: float, high: float, form: str) -> None:
        fine.append(low <= value <= high)
        verdict = "" if fine[-1] else "   OUTSIDE"
        print(f"  {name:22} {value:>14{form}}   {low:>14{form}} .. {high:<14{form}}{verdict}")

    print(f"{count:.0e} draws, seed 1, noise version {noise.NOISE_VERSION}; bounds to the right")
    first, second, third, fourth = sums / count
    variance = second - first**2
    skewness = (third - 3 * first * second + 2 * first**3) / variance**1.5
    kurtosis = (fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4) / variance**2
    moments = {"mean": (first, 1), "variance - 1": (variance - 1, 2), "skewness": (skewness, 6)}
    for name, (value, spread) in {**moments, "kurtosis - 3": (kurtosis - 3, 24)}.items():
        row(name, value, -5 * math.sqrt(spread / count), 5 * math.sqrt(spread / count), ".3e")
    distance = np.abs(np.cumsum(counts) / count - np.arange(1, BINS + 1) / BINS).max()
    row("distance to Phi (KS)", distance, 0.0, math.sqrt(math.log(2e6) / (2 * count)), ".3e")
    for bound, found in zip(TAILS, beyond, strict=True):
        low, high = stats.poisson.interval(1 - 1e-6, 2 * count * special.ndtr(-bound))
        row(f"|z| > {bound:g}", found, low, high, ".0f")
    print(f"  {'largest |z|':22} {largest:>14.4f}")
    return all(fine)


def main() -> int:
    if backend().name != "extension":
        print(f"needs the compiled extension: {backend().reason}")
        return 1
    wanted = sys.argv[1:] or ["maps", "law"]
    checks = {"maps": maps, "law": law}
    if not set(wanted) <= set(checks):
        print(f"unknown check {wanted}; expected {', '.join(checks)}")
        return 2
    return 0 if all([checks[name]() for name in wanted]) else 1


if __name__ == "__main__":
    sys.exit(main())
