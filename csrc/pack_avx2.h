// Eight lanes of AVX2 with fma under the names of One (ieee.h). Include it with the instruction set switched on.
#pragma once

#include <immintrin.h>

#include "ieee.h"

namespace torchdiff {

struct Avx2 {
  using Real = __m256;
  using Bits = __m256i;
  using Mask = __m256i;  // all bits of a lane, of which select() reads the top one
  using Word = __m256i;  // four words, each in the low half of 64 bits
  using Product = __m256i;
  static constexpr int kLanes = 8;

  static TORCHDIFF_INLINE Real real(float a) { return _mm256_set1_ps(a); }
  static TORCHDIFF_INLINE Real fma(Real a, Real b, Real c) { return _mm256_fmadd_ps(a, b, c); }
  static TORCHDIFF_INLINE Real mul(Real a, Real b) { return _mm256_mul_ps(a, b); }
  static TORCHDIFF_INLINE Real add(Real a, Real b) { return _mm256_add_ps(a, b); }
  static TORCHDIFF_INLINE Real sub(Real a, Real b) { return _mm256_sub_ps(a, b); }
  static TORCHDIFF_INLINE Real square_root(Real a) { return _mm256_sqrt_ps(a); }
  static TORCHDIFF_INLINE Real from_int(Bits a) { return _mm256_cvtepi32_ps(a); }
  static TORCHDIFF_INLINE Real select(Mask m, Real a, Real b) { return _mm256_blendv_ps(b, a, real_of(m)); }
  static TORCHDIFF_INLINE Real keep(Mask m, Real a) { return _mm256_and_ps(real_of(m), a); }

  static TORCHDIFF_INLINE Bits bits(uint32_t a) { return _mm256_set1_epi32(static_cast<int>(a)); }
  static TORCHDIFF_INLINE Bits bits_of(Real a) { return _mm256_castps_si256(a); }
  static TORCHDIFF_INLINE Real real_of(Bits a) { return _mm256_castsi256_ps(a); }
  template <int n>
  static TORCHDIFF_INLINE Bits left(Bits a) {
    return _mm256_slli_epi32(a, n);
  }
  template <int n>
  static TORCHDIFF_INLINE Bits right(Bits a) {
    return _mm256_srli_epi32(a, n);
  }
  template <int n>
  static TORCHDIFF_INLINE Bits right_signed(Bits a) {
    return _mm256_srai_epi32(a, n);
  }
  static TORCHDIFF_INLINE Bits minus(Bits a, Bits b) { return _mm256_sub_epi32(a, b); }
  static TORCHDIFF_INLINE Bits both(Bits a, Bits b) { return _mm256_and_si256(a, b); }
  static TORCHDIFF_INLINE Bits either(Bits a, Bits b) { return _mm256_or_si256(a, b); }
  static TORCHDIFF_INLINE Bits differ(Bits a, Bits b) { return _mm256_xor_si256(a, b); }
  static TORCHDIFF_INLINE Bits differ_where(Mask m, Bits a, Bits b) { return differ(a, both(m, b)); }
  static TORCHDIFF_INLINE Mask less(Bits a, Bits b) { return _mm256_cmpgt_epi32(b, a); }
  static TORCHDIFF_INLINE Mask negative(Bits a) { return a; }
  static TORCHDIFF_INLINE Mask opposite(Mask m) { return _mm256_xor_si256(m, _mm256_set1_epi32(-1)); }

  static TORCHDIFF_INLINE Word word(uint32_t a) { return _mm256_set1_epi64x(a); }
  static TORCHDIFF_INLINE Product product(Word a, uint32_t b) { return _mm256_mul_epu32(a, _mm256_set1_epi64x(b)); }
  static TORCHDIFF_INLINE Word low(Product a) { return a; }  // the high half is garbage that product() does not read
  static TORCHDIFF_INLINE Word high(Product a) { return _mm256_srli_epi64(a, 32); }
  static TORCHDIFF_INLINE Word differ3(Word a, Word b, Word c) { return differ(differ(b, c), a); }
  static TORCHDIFF_INLINE Word plus(Word a, uint32_t b) { return _mm256_add_epi64(a, _mm256_set1_epi64x(b)); }
  static TORCHDIFF_INLINE Word load_words(const uint32_t* a) {
    return _mm256_cvtepu32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a)));
  }

  // Block numbers first, first + 1, ... of two words, in the order in which join() and turn() bring 8 blocks into
  // line.
  static TORCHDIFF_INLINE void blocks(uint32_t first, Word& a, Word& b) {
    const __m256i start = _mm256_set1_epi64x(first);
    a = _mm256_add_epi64(start, _mm256_setr_epi64x(0, 2, 1, 3));
    b = _mm256_add_epi64(start, _mm256_setr_epi64x(4, 6, 5, 7));
  }
  // The same for numbers that stand in memory.
  static TORCHDIFF_INLINE void gather(const uint32_t* at, Word& a, Word& b) {
    a = _mm256_permute4x64_epi64(load_words(at), 0xD8);
    b = _mm256_permute4x64_epi64(load_words(at + 4), 0xD8);
  }
  // The low halves of two words as 8 lanes.
  static TORCHDIFF_INLINE Bits join(Word a, Word b) {
    return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88));
  }
  // Normals z[k] of 8 blocks to 32 elements, block after block.
  static TORCHDIFF_INLINE void turn(const Real* z, Real* elements) {
    const auto a = _mm256_castps_pd(_mm256_unpacklo_ps(z[0], z[1])),
               b = _mm256_castps_pd(_mm256_unpacklo_ps(z[2], z[3]));
    const auto c = _mm256_castps_pd(_mm256_unpackhi_ps(z[0], z[1])),
               d = _mm256_castps_pd(_mm256_unpackhi_ps(z[2], z[3]));
    elements[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
    elements[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
    elements[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(c, d));
    elements[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(c, d));
  }
  static TORCHDIFF_INLINE Bits load_bits(const uint32_t* a) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a));
  }
  static TORCHDIFF_INLINE Real load(const float* a) { return _mm256_loadu_ps(a); }
  static TORCHDIFF_INLINE void store(float* out, Real a) { _mm256_storeu_ps(out, a); }
  // The first `count` lanes, 0 < count < 8; the others are 0 and not touched.
  static TORCHDIFF_INLINE Mask first(int count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static TORCHDIFF_INLINE Real load(Mask m, const float* a) { return _mm256_maskload_ps(a, m); }
  static TORCHDIFF_INLINE void store(Mask m, float* out, Real a) { _mm256_maskstore_ps(out, m, a); }

  // Four blocks of norms.h at once.
  static TORCHDIFF_INLINE __m256d squares(const float* block) { return squares(_mm256_cvtps_pd(_mm_loadu_ps(block))); }
  static TORCHDIFF_INLINE __m256d squares(const double* block) { return squares(_mm256_loadu_pd(block)); }
  static TORCHDIFF_INLINE __m256d squares(__m256d v) { return _mm256_mul_pd(v, v); }
  template <typename T>
  static TORCHDIFF_INLINE void add_squares(const T* values, double* lanes) {
    const __m256d a = _mm256_hadd_pd(squares(values), squares(values + 4));  // pairs of two blocks, in turns
    const __m256d b = _mm256_hadd_pd(squares(values + 8), squares(values + 12));
    const __m256d sums = _mm256_add_pd(_mm256_permute2f128_pd(a, b, 0x20), _mm256_permute2f128_pd(a, b, 0x31));
    _mm256_storeu_pd(lanes, _mm256_add_pd(_mm256_loadu_pd(lanes), sums));
  }
};

}  // namespace torchdiff
