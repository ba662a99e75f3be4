// Words to normals by Box-Muller, in a fixed sequence of IEEE operations without branches or library calls.
//
// Of two words r and w:
//   radius = sqrt(-2 ln u),  u = (a + 1/2) / 2^31,  a = r >> 1;  the low bit of r is a sign
//   angle  = (pi / 2) t,     t = (b + 1/2) / 2^31 - 1/2 in quarter turns, b = (w + 2^30) mod 2^31;  the top bit of w
//   swaps the two normals are radius * (+-cos, sin), or with the swap radius * (sin, +-cos)
//
// So the polynomials see an eighth of a turn to either side, and the other bits turn it by quarters. u ends at 2^-32,
// the radius at 6.6604. torchdiff/ops/boxmuller.py says the same in plain torch. Changing any operation changes the
// bits of every sample: raise kNoiseVersion then. The polynomials are minimax fits to relative errors of 2^-25.7 (log),
// 2^-27.9 (sin) and 2^-24.6 (cos), and 2^-58 in float64. Over all 2^32 words the
// radius is at most 1.91 ulp off, the normals of radius 1 1.60: make check-normals.
#pragma once

#include "philox.h"

namespace torchdiff {

constexpr int kNoiseVersion = 1;

// u > sqrt(1/2): from there on ln u is taken from the distance to 1, and keeps all its digits near u = 1.
constexpr uint32_t kUpper = 0x5A82799A;

template <typename Pack>
TORCHDIFF_INLINE typename Pack::Real radius32(typename Pack::Bits r) {
  const auto a = Pack::template right<1>(r);
  const auto lower = Pack::less(a, Pack::bits(kUpper));
  const auto end = Pack::differ_where(Pack::opposite(lower), a, Pack::bits(0x7FFFFFFF));      // steps to the nearer end
  const auto x = Pack::fma(Pack::from_int(end), Pack::real(0x1p-30f), Pack::real(0x1p-31f));  // 2 u, or 2 (1 - u)
  // 2 u = 2^e m with m in [sqrt 2, 2 sqrt 2): -2 ln u = h + h^2 p(h) - 2 ln 2 e, where h = 2 - m, or h = x and e = 0
  const auto bits = Pack::bits_of(x);
  const auto above = Pack::minus(bits, Pack::bits(0x3FB504F3));
  const auto m = Pack::real_of(Pack::minus(bits, Pack::both(above, Pack::bits(0xFF800000))));
  const auto e = Pack::keep(lower, Pack::from_int(Pack::template right_signed<23>(above)));
  const auto h = Pack::select(lower, Pack::sub(Pack::real(2.0f), m), x);
  auto p = Pack::real(0x1.76934cp-12f);
  p = Pack::fma(p, h, Pack::real(0x1.2cb8c8p-10f));
  p = Pack::fma(p, h, Pack::real(0x1.317040p-9f));
  p = Pack::fma(p, h, Pack::real(0x1.51faccp-8f));
  p = Pack::fma(p, h, Pack::real(0x1.98b55cp-7f));
  p = Pack::fma(p, h, Pack::real(0x1.000f02p-5f));
  p = Pack::fma(p, h, Pack::real(0x1.55579ap-4f));
  p = Pack::fma(p, h, Pack::real(0x1.ffffc8p-3f));
  // 2 ln 2 in one part: its float32 is off by 2^-28.4 only
  return Pack::square_root(Pack::fma(e, Pack::real(-0x1.62e430p+0f), Pack::fma(Pack::mul(h, h), p, h)));
}

template <typename T>
struct CosSin {
  T cos, sin;
};

// The eighth of a turn to either side that the low 31 bits of w say.
template <typename Pack>
TORCHDIFF_INLINE CosSin<typename Pack::Real> angle32(typename Pack::Bits w) {
  const auto turns = Pack::either(Pack::template left<1>(w), Pack::bits(1));  // odd, so that t and -t are as frequent
  const auto t = Pack::mul(Pack::from_int(turns), Pack::real(0x1p-32f));
  const auto z = Pack::mul(t, t);
  auto q = Pack::fma(Pack::real(-0x1.2db5ccp-8f), z, Pack::real(0x1.465facp-4f));
  q = Pack::fma(q, z, Pack::real(-0x1.4abbbep-1f));
  q = Pack::fma(q, z, Pack::real(-0x1.777a5cp-25f));  // pi / 2, low part
  auto c = Pack::fma(Pack::real(-0x1.4e78bep-6f), z, Pack::real(0x1.03b058p-2f));
  c = Pack::fma(c, z, Pack::real(-0x1.3bd39cp+0f));
  return {Pack::fma(c, z, Pack::real(1.0f)), Pack::fma(t, Pack::real(0x1.921fb6p+0f), Pack::mul(t, q))};
}

// The two normals of radius 1: the sign is in the low bit of r, the swap in the top bit of w.
template <typename Pack>
TORCHDIFF_INLINE void direction32(typename Pack::Bits r, typename Pack::Bits w, typename Pack::Real& first,
                                  typename Pack::Real& second) {
  const auto direction = angle32<Pack>(w);
  const auto cos = Pack::real_of(Pack::differ(Pack::bits_of(direction.cos), Pack::template left<31>(r)));
  const auto swap = Pack::negative(w);
  first = Pack::select(swap, direction.sin, cos);
  second = Pack::select(swap, cos, direction.sin);
}

// The two normals of the words r and w.
template <typename Pack>
TORCHDIFF_INLINE void box_muller_pair(typename Pack::Bits r, typename Pack::Bits w, typename Pack::Real& first,
                                      typename Pack::Real& second) {
  const auto length = radius32<Pack>(r);
  direction32<Pack>(r, w, first, second);
  first = Pack::mul(length, first);
  second = Pack::mul(length, second);
}

// The float64 maps, from the same words; ln u = e ln 2 + log1p(f), all of e and f exact.
TORCHDIFF_INLINE double radius64(uint32_t r) {
  const uint32_t a = r >> 1;
  const bool upper = a >= 0x40000000u;
  const double x = add(mul(static_cast<double>(static_cast<int32_t>(upper ? a ^ 0x7FFFFFFFu : a)), 0x1p-31), 0x1p-32);
  const int64_t bits = bits_as<int64_t>(x);
  const int32_t exponent = (static_cast<int32_t>(bits >> 32) - 0x3FE6A09E) >> 20;
  const double m =
      bits_as<double>(bits - static_cast<int64_t>(static_cast<uint64_t>(static_cast<int64_t>(exponent)) << 52));
  const bool folded = x >= 0x1.2bec34p-2;  // 1 - sqrt(1/2): keeps f in [-0.2929, 0.4143]
  const double scale = folded ? 2.0 : 1.0;
  const double f = upper ? sub(sub(scale, 1.0), mul(x, scale)) : sub(m, 1.0);
  const double e = upper ? (folded ? -1.0 : 0.0) : static_cast<double>(exponent);
  const double h = mul(mul(f, f), 0.5);
  const double s = divide(f, add(f, 2.0));
  const double z = mul(s, s);
  double p = 0x1.2f0d8dbc1a66dp-3;
  p = add(mul(p, z), 0x1.39a0f513cf7e3p-3);
  p = add(mul(p, z), 0x1.7466462c1578cp-3);
  p = add(mul(p, z), 0x1.c71c51e7f8682p-3);
  p = add(mul(p, z), 0x1.2492494217a1ep-2);
  p = add(mul(p, z), 0x1.999999997fb31p-2);
  p = add(mul(p, z), 0x1.5555555555593p-1);
  const double correction = add(mul(s, add(h, mul(z, p))), mul(e, -0x1.0ca86c3898d00p-49));
  const double y = add(sub(f, sub(h, correction)), mul(e, 0x1.62e42fefa3a00p-1));
  return square_root(mul(y, -2.0));
}

TORCHDIFF_INLINE CosSin<double> angle64(uint32_t w) {
  const double t = mul(static_cast<double>(static_cast<int32_t>((w << 1) | 1u)), 0x1p-32);
  const double z = mul(t, t);
  double p = 0x1.e403cfd58c467p-25;
  p = add(mul(p, z), -0x1.e300a657ff999p-19);
  p = add(mul(p, z), 0x1.5078301b5fb16p-13);
  p = add(mul(p, z), -0x1.32d2cce3332adp-8);
  p = add(mul(p, z), 0x1.466bc67758d84p-4);
  p = add(mul(p, z), -0x1.4abbce625be47p-1);
  // pi / 2 in two parts; the high one has 22 bits and t has 31, so their product is exact.
  const double sin = add(mul(t, 0x1.921fb8p+0), mul(t, add(mul(z, p), -0x1.5dde973dcb3b4p-23)));
  double c = -0x1.b26fe8ae219d2p-28;
  c = add(mul(c, z), 0x1.f9cc6ad0b0472p-22);
  c = add(mul(c, z), -0x1.a6d1ecb741007p-16);
  c = add(mul(c, z), 0x1.e1f50683b42d5p-11);
  c = add(mul(c, z), -0x1.55d3c7e3c95bcp-6);
  c = add(mul(c, z), 0x1.03c1f081b5ab0p-2);
  c = add(mul(c, z), -0x1.3bd3cc9be45dep+0);
  return {add(mul(z, c), 1.0), sin};
}

TORCHDIFF_INLINE void direction64(uint32_t r, uint32_t w, double& first, double& second) {
  const CosSin<double> direction = angle64(w);
  const double cos = (r & 1u) != 0 ? -direction.cos : direction.cos;
  const bool swap = (w >> 31) != 0;
  first = swap ? direction.sin : cos;
  second = swap ? cos : direction.sin;
}

// Four words to the four normals of a block.
template <typename T>
TORCHDIFF_INLINE void box_muller(const Words& words, T* z);

template <>
TORCHDIFF_INLINE void box_muller<float>(const Words& words, float* z) {
  box_muller_pair<One>(words.at[0], words.at[1], z[0], z[1]);
  box_muller_pair<One>(words.at[2], words.at[3], z[2], z[3]);
}

template <>
TORCHDIFF_INLINE void box_muller<double>(const Words& words, double* z) {
  TORCHDIFF_UNROLL
  for (int pair = 0; pair < 2; ++pair) {
    const double length = radius64(words.at[2 * pair]);
    direction64(words.at[2 * pair], words.at[2 * pair + 1], z[2 * pair], z[2 * pair + 1]);
    z[2 * pair] = mul(length, z[2 * pair]);
    z[2 * pair + 1] = mul(length, z[2 * pair + 1]);
  }
}

}  // namespace torchdiff
