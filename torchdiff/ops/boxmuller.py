"""Words to normals: the fixed sequence of IEEE operations of csrc/normal.h, in plain torch.

    radius(r) = sqrt(-2 ln u),  u = (r + 1/2) / 2^32           cos and sin of  2 pi (r + 1/2) / 2^32

The same operations in the same order give the same bits as the compiled code; float64 uses no fma at all, float32
uses fma, made here from exact float64 products. r = 0 gives the largest radius, 6.7637.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_hex = float.fromhex
_FOLD = _hex("0x1.2bec34p-2")  # 1 - sqrt(1/2) in float32: keeps the argument of log1p in [-0.2929, 0.4143]

_LN2_32 = (_hex("0x1.62e4p-1"), _hex("0x1.7f7d1cp-20"))
_LOG_32 = tuple(map(_hex, (
    "0x1.555554p-2", "-0x1.000226p-2", "0x1.99a008p-3", "-0x1.547246p-3",
    "0x1.22da18p-3", "-0x1.0d8534p-3", "0x1.055b8ap-3", "-0x1.38b618p-4",
)))  # fmt: skip
_HALF_PI_32 = (_hex("0x1.921fb6p+0"), _hex("-0x1.777a5cp-25"))
_SIN_32 = tuple(map(_hex, ("-0x1.4abbc0p-1", "0x1.466032p-4", "-0x1.2dd046p-8")))
_COS_32 = tuple(map(_hex, ("-0x1.3bd3ccp+0", "0x1.03c1dep-2", "-0x1.55c664p-6", "0x1.d9f7bcp-11")))

_LN2_64 = (_hex("0x1.62e42fefa3a00p-1"), _hex("-0x1.0ca86c3898d00p-49"))
_LOG_64 = tuple(map(_hex, (
    "0x1.5555555555593p-1", "0x1.999999997fb31p-2", "0x1.2492494217a1ep-2", "0x1.c71c51e7f8682p-3",
    "0x1.7466462c1578cp-3", "0x1.39a0f513cf7e3p-3", "0x1.2f0d8dbc1a66dp-3",
)))  # fmt: skip
_HALF_PI_64 = (_hex("0x1.921fb8p+0"), _hex("-0x1.5dde973dcb3b4p-23"))
_SIN_64 = tuple(map(_hex, (
    "-0x1.4abbce625be47p-1", "0x1.466bc67758d84p-4", "-0x1.32d2cce3332adp-8",
    "0x1.5078301b5fb16p-13", "-0x1.e300a657ff999p-19", "0x1.e403cfd58c467p-25",
)))  # fmt: skip
_COS_64 = tuple(map(_hex, (
    "-0x1.3bd3cc9be45dep+0", "0x1.03c1f081b5ab0p-2", "-0x1.55d3c7e3c95bcp-6", "0x1.e1f50683b42d5p-11",
    "-0x1.a6d1ecb741007p-16", "0x1.f9cc6ad0b0472p-22", "-0x1.b26fe8ae219d2p-28",
)))  # fmt: skip


def fma32(a, b, c) -> Tensor:
    """a * b + c rounded once to float32; a, b, c float32 tensors or floats of float32 value, no subnormal results.

    The product is exact in float64 and the sum is rounded there first. Rounding twice differs from rounding once only
    where the float64 sum lies exactly halfway between two float32 values (one element in 2^29): it is moved one
    float64 step towards the exact sum, whose side the error of the addition tells.
    """
    product, c = _wide(a) * _wide(b), _wide(c)
    total = product + c
    bits = total.view(torch.int64)
    halfway = (bits & 0x1FFFFFFF) == 0x10000000
    if halfway.any():
        back = total - product
        error = (product - (total - back)) + (c - back)  # Knuth's TwoSum: total + error = product + c exactly
        step = (torch.sign(error) * torch.sign(total)).to(torch.int64)
        total = torch.where(halfway, bits + step, bits).view(torch.float64)
    return total.to(torch.float32)


def _wide(value):
    return value.to(torch.float64) if isinstance(value, Tensor) else value


def square_root(x: Tensor) -> Tensor:
    """The correctly rounded square root.

    numpy on the CPU: torch.sqrt there may go through MKL, which rounds one float32 value in five and one float64 value
    in seventy the other way (torch 2.13.0, AMD EPYC). On CUDA torch.sqrt is correctly rounded.
    """
    return torch.from_numpy(np.sqrt(x.numpy())) if x.device.type == "cpu" else torch.sqrt(x)


def _half(r: Tensor) -> tuple[Tensor, Tensor]:
    """Whether u > 1/2, and the distance of r to the nearer end, so that no digit of u near 1 is lost."""
    upper = r >= 0x80000000
    return upper, torch.where(upper, r ^ 0xFFFFFFFF, r).to(torch.float64)


def _reduce(upper: Tensor, x: Tensor, e: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
    """ln u = e ln 2 + log1p(f): u = x = 2^e m in the lower half, u = 1 - x in the upper. All of it is exact."""
    folded = x >= _FOLD
    scale = torch.where(folded, 2.0, 1.0).to(x.dtype)
    f = torch.where(upper, (scale - 1.0) - x * scale, m - 1.0)
    return torch.where(upper, -folded.to(e.dtype), e).to(x.dtype), f


def radius32(r: Tensor) -> Tensor:
    """sqrt(-2 ln((r + 1/2) / 2^32)) in float32, at most 2 ulp off; r: int64 words."""
    upper, a = _half(r)
    x = fma32(a.to(torch.float32), 2.0**-32, 2.0**-33)
    bits = x.view(torch.int32)
    e = (bits - 0x3F3504F3) >> 23
    e, f = _reduce(upper, x, e, (bits - (e << 23)).view(torch.float32))
    s = f * f
    p = torch.full_like(f, _LOG_32[-1])
    for coefficient in _LOG_32[-2::-1]:
        p = fma32(p, f, coefficient)
    q = fma32(s * f, p, s * -0.5)
    q = fma32(e, _LN2_32[1], q)
    y = fma32(e, _LN2_32[0], f + q)
    return square_root(y * -2.0)


def radius64(r: Tensor) -> Tensor:
    """sqrt(-2 ln((r + 1/2) / 2^32)) in float64; r: int64 words."""
    upper, a = _half(r)
    x = a * 2.0**-32 + 2.0**-33
    bits = x.view(torch.int64)
    e = ((bits >> 32) - 0x3FE6A09E) >> 20
    e, f = _reduce(upper, x, e, (bits - (e << 52)).view(torch.float64))
    h = (f * f) * 0.5
    s = f / (f + 2.0)
    z = s * s
    p = z * _horner(z, _LOG_64)
    y = (f - (h - (s * (h + p) + e * _LN2_64[1]))) + e * _LN2_64[0]
    return square_root(y * -2.0)


def _horner(z: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    p = torch.full_like(z, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        p = p * z + coefficient
    return p


def _quarters(r: Tensor) -> tuple[Tensor, Tensor]:
    """The angle as quarter turns: the nearest whole number of them, and the signed rest in units of 2^-32."""
    quadrant = ((r + 0x20000000) >> 30) & 3
    rest = ((r << 2) & 0xFFFFFFFF | 2) ^ 0x80000000  # two's complement of the low 32 bits, shifted up by 2^31
    return quadrant, rest - 0x80000000


def _turn(quadrant: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    odd = (quadrant & 1) == 1
    c, s = torch.where(odd, sin, cos), torch.where(odd, cos, sin)
    return torch.where(((quadrant + 1) & 2) == 2, -c, c), torch.where((quadrant & 2) == 2, -s, s)


def angle32(r: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of 2 pi (r + 1/2) / 2^32 in float32, at most 2 ulp off; r: int64 words."""
    quadrant, rest = _quarters(r)
    t = rest.to(torch.float64).to(torch.float32) * 2.0**-32
    z = t * t
    p = fma32(fma32(fma32(z, _SIN_32[2], _SIN_32[1]), z, _SIN_32[0]), z, _HALF_PI_32[1])
    sin = fma32(t, _HALF_PI_32[0], t * p)
    c = fma32(fma32(fma32(z, _COS_32[3], _COS_32[2]), z, _COS_32[1]), z, _COS_32[0])
    return _turn(quadrant, fma32(z, c, 1.0), sin)


def angle64(r: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of 2 pi (r + 1/2) / 2^32 in float64; r: int64 words."""
    quadrant, rest = _quarters(r)
    t = rest.to(torch.float64) * 2.0**-32
    z = t * t
    sin = t * _HALF_PI_64[0] + t * (z * _horner(z, _SIN_64) + _HALF_PI_64[1])
    return _turn(quadrant, z * _horner(z, _COS_64) + 1.0, sin)


def box_muller(words: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
    """Four words a block to four normals a block: (..., blocks) int64 each to (..., 4 * blocks) of `dtype`."""
    radius, angle = (radius64, angle64) if dtype == torch.float64 else (radius32, angle32)
    lanes = []
    for first, second in (words[:2], words[2:]):
        length, (cos, sin) = radius(first), angle(second)
        lanes += [length * cos, length * sin]
    return torch.stack(lanes, dim=-1).flatten(-2).to(dtype)
