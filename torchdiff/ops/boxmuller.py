"""Words to normals: the fixed sequence of IEEE operations of csrc/normal.h, in plain torch.

Of two words r and w:
    radius = sqrt(-2 ln u),  u = (a + 1/2) / 2^31,  a = r >> 1;  the low bit of r is a sign
    angle  = (pi / 2) t,     t = (b + 1/2) / 2^31 - 1/2,  b = (w + 2^30) mod 2^31;  the top bit of w swaps
    the two normals are radius * (+-cos, sin), or with the swap radius * (sin, +-cos)

The same operations in the same order give the same bits as the compiled code; float64 uses no fma at all, float32
uses fma, made in fma.py from exact float64 products. r = 0 gives the largest radius, 6.6604.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .fma import fma32

_hex = float.fromhex

_UPPER = 0x5A82799A  # u > sqrt(1/2): ln u from the distance to 1
_LOG_32 = tuple(map(_hex, (
    "0x1.ffffc8p-3", "0x1.55579ap-4", "0x1.000f02p-5", "0x1.98b55cp-7",
    "0x1.51faccp-8", "0x1.317040p-9", "0x1.2cb8c8p-10", "0x1.76934cp-12",
)))  # fmt: skip
_LN4_32 = _hex("0x1.62e430p+0")
_HALF_PI_32 = (_hex("0x1.921fb6p+0"), _hex("-0x1.777a5cp-25"))
_SIN_32 = tuple(map(_hex, ("-0x1.4abbbep-1", "0x1.465facp-4", "-0x1.2db5ccp-8")))
_COS_32 = tuple(map(_hex, ("-0x1.3bd39cp+0", "0x1.03b058p-2", "-0x1.4e78bep-6")))

_FOLD = _hex("0x1.2bec34p-2")  # 1 - sqrt(1/2): keeps the argument of log1p in [-0.2929, 0.4143]
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


def square_root(x: Tensor) -> Tensor:
    """The correctly rounded square root.

    numpy on the CPU: torch.sqrt there may go through MKL, which rounds one float32 value in five and one float64 value
    in seventy the other way (torch 2.13.0, AMD EPYC). On CUDA torch.sqrt is correctly rounded.
    """
    return torch.from_numpy(np.sqrt(x.numpy())) if x.device.type == "cpu" else torch.sqrt(x)


def radius32(r: Tensor) -> Tensor:
    """sqrt(-2 ln u) in float32, at most 2 ulp off; r: int64 words."""
    a = r >> 1
    lower = a < _UPPER
    x = fma32(torch.where(lower, a, a ^ 0x7FFFFFFF).to(torch.float32), 2.0**-30, 2.0**-31)
    bits = x.view(torch.int32)
    above = bits - 0x3FB504F3
    m = (bits - (above & -0x800000)).view(torch.float32)
    e = torch.where(lower, above >> 23, 0).to(torch.float32)
    h = torch.where(lower, 2.0 - m, x)
    p = torch.full_like(h, _LOG_32[-1])
    for coefficient in _LOG_32[-2::-1]:
        p = fma32(p, h, coefficient)
    return square_root(fma32(e, -_LN4_32, fma32(h * h, p, h)))


def radius64(r: Tensor) -> Tensor:
    """sqrt(-2 ln u) in float64; r: int64 words."""
    a = r >> 1
    upper = a >= 0x40000000
    x = torch.where(upper, a ^ 0x7FFFFFFF, a).to(torch.float64) * 2.0**-31 + 2.0**-32
    bits = x.view(torch.int64)
    e = ((bits >> 32) - 0x3FE6A09E) >> 20
    m = (bits - (e << 52)).view(torch.float64)
    folded = x >= _FOLD
    scale = torch.where(folded, 2.0, 1.0).to(x.dtype)
    f = torch.where(upper, (scale - 1.0) - x * scale, m - 1.0)
    e = torch.where(upper, -folded.to(e.dtype), e).to(x.dtype)
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


def _rest(w: Tensor) -> Tensor:
    """(w << 1) | 1 as a signed 32-bit integer: the angle in units of 2^-32 quarter turns."""
    return (((w << 1) & 0xFFFFFFFF | 1) ^ 0x80000000) - 0x80000000


def _direction(r: Tensor, w: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    cos = torch.where(r & 1 == 1, -cos, cos)
    swap = w >= 0x80000000
    return torch.where(swap, sin, cos), torch.where(swap, cos, sin)


def direction32(r: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """The two normals of radius 1 in float32, at most 2 ulp off; r, w: int64 words."""
    t = _rest(w).to(torch.float32) * 2.0**-32
    z = t * t
    q = torch.full_like(t, _SIN_32[-1])
    for coefficient in (*_SIN_32[-2::-1], _HALF_PI_32[1]):
        q = fma32(q, z, coefficient)
    c = torch.full_like(t, _COS_32[-1])
    for coefficient in (*_COS_32[-2::-1], 1.0):
        c = fma32(c, z, coefficient)
    return _direction(r, w, c, fma32(t, _HALF_PI_32[0], t * q))


def direction64(r: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """The two normals of radius 1 in float64; r, w: int64 words."""
    t = _rest(w).to(torch.float64) * 2.0**-32
    z = t * t
    sin = t * _HALF_PI_64[0] + t * (z * _horner(z, _SIN_64) + _HALF_PI_64[1])
    return _direction(r, w, z * _horner(z, _COS_64) + 1.0, sin)


def box_muller(words: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
    """The normals of each block, (..., 4 * blocks), from its four words (..., blocks).

    float64 normals are computed in float64, float32 ones in float32; float16 and bfloat16 are the rounded float32 ones.
    """
    wide = dtype == torch.float64
    radius, direction = (radius64, direction64) if wide else (radius32, direction32)
    lanes = [radius(r) * part for r, w in ((words[0], words[1]), (words[2], words[3])) for part in direction(r, w)]
    z = torch.stack(lanes, dim=-1).flatten(-2)
    return z if wide else z.to(dtype)
