// Words to normals by Box-Muller, in a fixed sequence of IEEE operations without branches or library calls.
//
//   radius(r) = sqrt(-2 ln u),  u = (r + 1/2) / 2^32         cos and sin of  2 pi (r + 1/2) / 2^32
//
// torchdiff/ops/boxmuller.py says the same in plain torch. Changing any operation changes the bits of every sample:
// raise kNoiseVersion then. The polynomials are minimax fits to relative errors of 2^-27.4 (log, float32), 2^-28 (sin),
// 2^-34 (cos), and 2^-58 in float64. Against exact values over all 2^32 words: radius 1.40 ulp, cos and sin 1.37 ulp.
#pragma once

#include "philox.h"

namespace torchdiff {

constexpr int kNoiseVersion = 1;

template <typename T>
struct CosSin {
  T cos, sin;
};

// u > 1/2, and the distance of the word to the nearer end: measured from the end 1, ln u keeps all its digits near
// u = 1. The distance fits a signed int, which AVX2 can convert.
TORCHDIFF_INLINE bool upper_half(uint32_t r) { return static_cast<int32_t>(r) < 0; }
TORCHDIFF_INLINE int32_t distance_to_end(uint32_t r) { return static_cast<int32_t>(upper_half(r) ? ~r : r); }

constexpr float kFold = 0x1.2bec34p-2f;  // 1 - sqrt(1/2): keeps f, the argument of log1p, in [-0.2929, 0.4143]

// ln u = e ln 2 + log1p(f): u = x = 2^e m in the lower half of the words, u = 1 - x in the upper. All exact.
template <typename T>
TORCHDIFF_INLINE void reduce(bool upper, T x, T m, T& e, T& f) {
  const bool folded = x >= static_cast<T>(kFold);
  const T scale = folded ? T(2) : T(1);
  const T f_upper = sub(sub(scale, T(1)), mul(x, scale));
  const T e_upper = folded ? T(-1) : T(0);
  f = upper ? f_upper : sub(m, T(1));
  e = upper ? e_upper : e;
}

TORCHDIFF_INLINE float radius32(uint32_t r) {
  const float x = fma_rn(static_cast<float>(distance_to_end(r)), 0x1p-32f, 0x1p-33f);
  const int32_t bits = bits_as<int32_t>(x);
  const int32_t exponent = (bits - 0x3F3504F3) >> 23;  // of x / sqrt(1/2), so that m lies in [0.7071, 1.4143)
  const float m = bits_as<float>(bits - static_cast<int32_t>(static_cast<uint32_t>(exponent) << 23));
  float e = static_cast<float>(exponent), f;
  reduce(upper_half(r), x, m, e, f);
  const float s = mul(f, f);
  float p = -0x1.38b618p-4f;
  p = fma_rn(p, f, 0x1.055b8ap-3f);
  p = fma_rn(p, f, -0x1.0d8534p-3f);
  p = fma_rn(p, f, 0x1.22da18p-3f);
  p = fma_rn(p, f, -0x1.547246p-3f);
  p = fma_rn(p, f, 0x1.99a008p-3f);
  p = fma_rn(p, f, -0x1.000226p-2f);
  p = fma_rn(p, f, 0x1.555554p-2f);
  float q = fma_rn(mul(s, f), p, mul(s, -0.5f));
  q = fma_rn(e, 0x1.7f7d1cp-20f, q);                   // ln 2, low part
  const float y = fma_rn(e, 0x1.62e4p-1f, add(f, q));  // ln 2, high part: 17 bits, exact times e
  return square_root(mul(y, -2.0f));
}

TORCHDIFF_INLINE double radius64(uint32_t r) {
  const double x = add(mul(static_cast<double>(distance_to_end(r)), 0x1p-32), 0x1p-33);
  const int64_t bits = bits_as<int64_t>(x);
  const int32_t exponent = (static_cast<int32_t>(bits >> 32) - 0x3FE6A09E) >> 20;
  const double m =
      bits_as<double>(bits - static_cast<int64_t>(static_cast<uint64_t>(static_cast<int64_t>(exponent)) << 52));
  double e = exponent, f;
  reduce(upper_half(r), x, m, e, f);
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

// The angle in quarter turns: the low 30 bits of the word, read with sign, are the rest beyond the nearest whole
// number of them, in units of 2^-32 after the shift; the bit set is the 1/2 of r + 1/2.
TORCHDIFF_INLINE int32_t rest_of_turn(uint32_t r) { return static_cast<int32_t>((r << 2) | 2u); }

template <typename T>
TORCHDIFF_INLINE CosSin<T> turn(uint32_t r, T cos, T sin) {
  const uint32_t quadrant = (r + 0x20000000u) >> 30;
  const bool odd = (quadrant & 1u) != 0;
  const T c = odd ? sin : cos;
  const T s = odd ? cos : sin;
  return {((quadrant + 1u) & 2u) != 0 ? -c : c, (quadrant & 2u) != 0 ? -s : s};
}

TORCHDIFF_INLINE CosSin<float> angle32(uint32_t r) {
  const float t = mul(static_cast<float>(rest_of_turn(r)), 0x1p-32f);
  const float z = mul(t, t);
  float p = fma_rn(z, -0x1.2dd046p-8f, 0x1.466032p-4f);
  p = fma_rn(p, z, -0x1.4abbc0p-1f);
  p = fma_rn(p, z, -0x1.777a5cp-25f);  // pi / 2, low part
  const float sin = fma_rn(t, 0x1.921fb6p+0f, mul(t, p));
  float c = fma_rn(z, 0x1.d9f7bcp-11f, -0x1.55c664p-6f);
  c = fma_rn(c, z, 0x1.03c1dep-2f);
  c = fma_rn(c, z, -0x1.3bd3ccp+0f);
  return turn(r, fma_rn(z, c, 1.0f), sin);
}

TORCHDIFF_INLINE CosSin<double> angle64(uint32_t r) {
  const double t = mul(static_cast<double>(rest_of_turn(r)), 0x1p-32);
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
  return turn(r, add(mul(z, c), 1.0), sin);
}

template <typename T>
TORCHDIFF_INLINE T radius(uint32_t r);
template <>
TORCHDIFF_INLINE float radius<float>(uint32_t r) {
  return radius32(r);
}
template <>
TORCHDIFF_INLINE double radius<double>(uint32_t r) {
  return radius64(r);
}

template <typename T>
TORCHDIFF_INLINE CosSin<T> angle(uint32_t r);
template <>
TORCHDIFF_INLINE CosSin<float> angle<float>(uint32_t r) {
  return angle32(r);
}
template <>
TORCHDIFF_INLINE CosSin<double> angle<double>(uint32_t r) {
  return angle64(r);
}

// Four words to the four normals of a block.
template <typename T>
TORCHDIFF_INLINE void box_muller(const Words& words, T* z) {
  TORCHDIFF_UNROLL
  for (int pair = 0; pair < 2; ++pair) {
    const T length = radius<T>(words.at[2 * pair]);
    const CosSin<T> direction = angle<T>(words.at[2 * pair + 1]);
    z[2 * pair] = mul(length, direction.cos);
    z[2 * pair + 1] = mul(length, direction.sin);
  }
}

}  // namespace torchdiff
