"""Noise as a pure function of (seed, sample index, draw number, element), and the layout of its counters.

z[element] of draw d of sample i under a 64-bit seed is Philox4x32-10 with
    key     = seed + (d >> 32) * 0x9E3779B97F4A7C15  mod 2^64      (low word, high word)
    counter = (element // 4, d mod 2^32, i mod 2^32, i >> 32)
where element is the row-major index within the sample. Lanes 0 and 1 of the four are the pair of normals that words 0
and 1 make, lanes 2 and 3 that of words 2 and 3. The words r and w make radius * (+-cos, sin) of an angle, with
    radius = sqrt(-2 ln u),  u = ((r >> 1) + 1/2) / 2^31,          minus where r is odd
    angle  = (pi / 2) (((w + 2^30) mod 2^31 + 1/2) / 2^31 - 1/2),  the two swapped where w >= 2^31
So a sample has at most 2^34 elements, a seed 2^64 samples of 2^64 draws; the largest |z| is 6.6604.

Draw numbers come from torchdiff.counters.draw_number, which gives no two uses of noise the same one: up to step 131071
they stay within the 32 bits of the counter; beyond, the key advances.

A Brownian path on [0, horizon] hangs on a dyadic tree of 24 levels. Node 0 is the path as a whole, with two normals for
its increment w and its space-time Levy area; node 2^level + index splits the cell `index` of that level by two more, Z
and N (csrc/brownian.h has the formulas). Each has a draw number of its own, torchdiff.counters.node_number:
    bits 0 to 11: the path, 12 to 14: the purpose BROWNIAN, 15 to 39: 2 node + (0 for w and Z, 1 for the area and N)
The Levy areas between the processes of a sample have one draw for each interval of two ticks, start and end, with the
purpose AREA and 2^24 start + end - 1 in the place of the nodes.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from torchdiff.counters import BROWNIAN, PRIOR, STEP, USER, draw_number
from torchdiff.ops import NOISE_VERSION
from torchdiff.ops import brownian as fused_brownian
from torchdiff.ops import normal as fused_normal
from torchdiff.ticks import normals_per_element, rounded

__all__ = [
    "BROWNIAN",
    "NOISE_VERSION",
    "PRIOR",
    "STEP",
    "USER",
    "as_seeds",
    "brownian",
    "draw_number",
    "fresh_seed",
    "normal",
    "normals_per_element",
    "rounded",
]


def fresh_seed() -> int:
    """A seed of 63 bits from torch's default CPU generator, so that torch.manual_seed governs it."""
    return int(torch.randint(2**63 - 1, (), dtype=torch.int64, device="cpu"))


def as_int64(number: int, name: str = "seed") -> int:
    """The signed 64-bit integer with the bits of `number`, an int in [-2^63, 2^64)."""
    if isinstance(number, bool):
        raise ValueError(f"{name} is {number}; expected an integer")
    try:
        number = operator.index(number)
    except TypeError:
        raise ValueError(f"{name} is {number!r}; expected an integer") from None
    if not -(2**63) <= number < 2**64:
        raise ValueError(f"{name} is {number}; expected an integer in [-2^63, 2^64)")
    return number - 2**64 if number >= 2**63 else number


def as_seeds(seed: int | Sequence[int] | Tensor, batch: int) -> Tensor:
    """The seeds argument of torchdiff.ops.affine: int64 (1,) for one seed, (batch,) for one seed a sample.

    seed: an int in [-2^63, 2^64), read mod 2^64; or `batch` of them. A tensor keeps its device.
    """
    if isinstance(seed, Tensor):
        if seed.dtype == torch.uint64:
            seed = seed.view(torch.int64)
        if seed.dtype.is_floating_point or seed.dtype.is_complex or seed.dtype == torch.bool or seed.dim() > 1:
            raise ValueError(
                f"seed is a tensor of dtype {seed.dtype} and shape {tuple(seed.shape)}; expected integers, shape () or "
                f"({batch},)"
            )
        seeds = seed.detach().to(torch.int64)
        one = seeds.dim() == 0
        seeds = seeds.reshape(-1)
    elif hasattr(seed, "__len__") and not isinstance(seed, str | bytes):
        one = False
        each = [as_int64(s, f"seed[{i}]") for i, s in enumerate(cast("Sequence[int]", seed))]
        seeds = torch.tensor(each, dtype=torch.int64, device="cpu")
    else:
        one = True
        seeds = torch.tensor([as_int64(cast("int", seed))], dtype=torch.int64, device="cpu")
    if not one and len(seeds) != batch:
        raise ValueError(f"seed holds {len(seeds)} seeds for a batch of {batch}; give one int, or one seed a sample")
    return seeds


def normal(
    shape: Sequence[int],
    *,
    seed: int | Sequence[int] | Tensor,
    first_index: int = 0,
    draw: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Standard normals, bit for bit those that torchdiff.ops.affine adds for the same seed, samples and draw.

    shape: (B, *event). dtype: float32, float64, float16 or bfloat16; None is torch's default. float16 and bfloat16 are
    the rounded float32 values; float64 values come from the same words and lie within 3e-7 of them, relatively.
    seed:  an int, and sample i has index first_index + i; or B of them, and each sample has index first_index.
    draw:  an int in [0, 2^64), see draw_number.
    Depends on seed, sample index, draw and logical element only: not on B, device, threads or launch.
    """
    shape = _shape("normal", shape)
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if draw < 0:
        raise ValueError(f"normal: draw is {draw}; expected an integer in [0, 2^64)")
    device = torch.get_default_device() if device is None else torch.device(device)
    seeds = as_seeds(seed, shape[0]).to(device)
    number = torch.tensor([as_int64(draw, "draw")], dtype=torch.int64, device=device)
    return fused_normal(shape, seeds, operator.index(first_index), number, dtype)


def brownian(
    shape: Sequence[int],
    times: Sequence[float] | Tensor,
    *,
    seed: int | Sequence[int] | Tensor,
    horizon: float,
    first_index: int = 0,
    path: int = 0,
    integral: bool = False,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Increments of one Brownian path for each sample and element, on [0, horizon] with W(0) = 0.

        dW[k] = W(times[k + 1]) - W(times[k]),   dI[k] = integral of W(r) - W(times[k]) dr from times[k] to times[k + 1]

    The same seed is the same path whatever the times, their order and their grouping into calls, bit for bit: so
    dW over [s, u] is the sum of dW over [s, t] and [t, u], up to the rounding of the three. W does not change when the
    integrals are asked for. Jointly exact in law: of dW over h = t - s the variance is |h|, of dI |h|^3 / 3, their
    covariance |h| h / 2; the space-time Levy area is dI / h - dW / 2.

    shape:   (B, *event). times: K + 1 numbers in [0, horizon], rising, falling or in any order; an ulp of horizon
             outside counts as the end. Each is rounded to the nearest multiple of horizon / 2^24 (see `rounded`), which
             is all the error there is; h above is that of the rounded times. Two that round to one have dW = dI = 0.
    horizon: where the path ends; another horizon is another path.
    path:    in [0, 4096): independent paths of one seed. seed, first_index, dtype, device: as in `normal`.
    Returns dW (K, B, *event), or (dW, dI) with `integral`; sums along the path are in float64.
    Takes `normals_per_element(times, horizon, integral)` normals an element, up to 48 a time, and no memory but the
    outputs.
    Raises ValueError (RuntimeError in compiled code) naming the argument that does not fit.
    Source: Foster, Lyons & Oberhauser 2020, arXiv:1904.06998 (the halves of a cell); Jelincic, Foster & Kidger 2024,
    arXiv:2405.06464 (the tree from one seed).
    """
    shape = _shape("brownian", shape)
    dtype = torch.get_default_dtype() if dtype is None else dtype
    device = torch.get_default_device() if device is None else torch.device(device)
    seeds = as_seeds(seed, shape[0]).to(device)
    given = torch.as_tensor(times, dtype=torch.float64, device="cpu")
    index, number = operator.index(first_index), operator.index(path)
    outputs = fused_brownian(shape, seeds, index, number, given, float(horizon), integral, dtype)
    return (outputs[0], outputs[1]) if integral else outputs[0]


def _shape(name: str, shape: Sequence[int]) -> list[int]:
    sizes = [operator.index(n) for n in shape]
    if not sizes or min(sizes) < 0:
        raise ValueError(f"{name}: shape is {tuple(sizes)}; expected (B, *event) with no negative number")
    return sizes
