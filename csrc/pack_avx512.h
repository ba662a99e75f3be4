// Sixteen lanes of AVX-512 under the names of One (ieee.h). Include it with the instruction set switched on.
#pragma once

#include <immintrin.h>

#include "ieee.h"

namespace torchdiff {

struct Avx512 {
  using Real = __m512;
  using Bits = __m512i;
  using Mask = __mmask16;
  using Word = __m512i;  // eight words, each in the low half of 64 bits
  using Product = __m512i;
  static constexpr int kLanes = 16;

  static TORCHDIFF_INLINE Real real(float a) { return _mm512_set1_ps(a); }
  static TORCHDIFF_INLINE Real fma(Real a, Real b, Real c) { return _mm512_fmadd_ps(a, b, c); }
  static TORCHDIFF_INLINE Real mul(Real a, Real b) { return _mm512_mul_ps(a, b); }
  static TORCHDIFF_INLINE Real add(Real a, Real b) { return _mm512_add_ps(a, b); }
  static TORCHDIFF_INLINE Real sub(Real a, Real b) { return _mm512_sub_ps(a, b); }
  static TORCHDIFF_INLINE Real square_root(Real a) { return _mm512_sqrt_ps(a); }
  static TORCHDIFF_INLINE Real from_int(Bits a) { return _mm512_cvtepi32_ps(a); }
  static TORCHDIFF_INLINE Real select(Mask m, Real a, Real b) { return _mm512_mask_blend_ps(m, b, a); }
  static TORCHDIFF_INLINE Real keep(Mask m, Real a) { return _mm512_maskz_mov_ps(m, a); }

  static TORCHDIFF_INLINE Bits bits(uint32_t a) { return _mm512_set1_epi32(static_cast<int>(a)); }
  static TORCHDIFF_INLINE Bits bits_of(Real a) { return _mm512_castps_si512(a); }
  static TORCHDIFF_INLINE Real real_of(Bits a) { return _mm512_castsi512_ps(a); }
  template <int n>
  static TORCHDIFF_INLINE Bits left(Bits a) {
    return _mm512_slli_epi32(a, n);
  }
  template <int n>
  static TORCHDIFF_INLINE Bits right(Bits a) {
    return _mm512_srli_epi32(a, n);
  }
  template <int n>
  static TORCHDIFF_INLINE Bits right_signed(Bits a) {
    return _mm512_srai_epi32(a, n);
  }
  static TORCHDIFF_INLINE Bits minus(Bits a, Bits b) { return _mm512_sub_epi32(a, b); }
  static TORCHDIFF_INLINE Bits both(Bits a, Bits b) { return _mm512_and_si512(a, b); }
  static TORCHDIFF_INLINE Bits either(Bits a, Bits b) { return _mm512_or_si512(a, b); }
  static TORCHDIFF_INLINE Bits differ(Bits a, Bits b) { return _mm512_xor_si512(a, b); }
  static TORCHDIFF_INLINE Bits differ_where(Mask m, Bits a, Bits b) { return _mm512_mask_xor_epi32(a, m, a, b); }
  static TORCHDIFF_INLINE Mask less(Bits a, Bits b) { return _mm512_cmplt_epi32_mask(a, b); }
  static TORCHDIFF_INLINE Mask negative(Bits a) { return _mm512_movepi32_mask(a); }
  static TORCHDIFF_INLINE Mask opposite(Mask m) { return static_cast<Mask>(~m); }

  static TORCHDIFF_INLINE Word word(uint32_t a) { return _mm512_set1_epi64(a); }
  static TORCHDIFF_INLINE Product product(Word a, uint32_t b) { return _mm512_mul_epu32(a, _mm512_set1_epi64(b)); }
  static TORCHDIFF_INLINE Word low(Product a) { return a; }  // the high half is garbage that product() does not read
  static TORCHDIFF_INLINE Word high(Product a) { return _mm512_srli_epi64(a, 32); }
  static TORCHDIFF_INLINE Word differ3(Word a, Word b, Word c) { return _mm512_ternarylogic_epi64(a, b, c, 0x96); }
  static TORCHDIFF_INLINE Word plus(Word a, uint32_t b) { return _mm512_add_epi64(a, _mm512_set1_epi64(b)); }
  static TORCHDIFF_INLINE Word load_words(const uint32_t* a) {
    return _mm512_cvtepu32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(a)));
  }

  // Block numbers first, first + 1, ... of two words, in the order in which join() and turn() bring 16 blocks into
  // line.
  static TORCHDIFF_INLINE void blocks(uint32_t first, Word& a, Word& b) {
    const __m512i start = _mm512_set1_epi64(first);
    a = _mm512_add_epi64(start, _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7));
    b = _mm512_add_epi64(start, _mm512_setr_epi64(8, 12, 9, 13, 10, 14, 11, 15));
  }
  // The same for numbers that stand in memory.
  static TORCHDIFF_INLINE void gather(const uint32_t* at, Word& a, Word& b) {
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    a = _mm512_permutexvar_epi64(order, load_words(at));
    b = _mm512_permutexvar_epi64(order, load_words(at + 8));
  }
  // The low halves of two words as 16 lanes.
  static TORCHDIFF_INLINE Bits join(Word a, Word b) {
    return _mm512_castps_si512(_mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), 0x88));
  }
  // Normals z[k] of 16 blocks to 64 elements, block after block.
  static TORCHDIFF_INLINE void turn(const Real* z, Real* elements) {
    const auto a = _mm512_castps_pd(_mm512_unpacklo_ps(z[0], z[1])),
               b = _mm512_castps_pd(_mm512_unpacklo_ps(z[2], z[3]));
    const auto c = _mm512_castps_pd(_mm512_unpackhi_ps(z[0], z[1])),
               d = _mm512_castps_pd(_mm512_unpackhi_ps(z[2], z[3]));
    elements[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
    elements[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    elements[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(c, d));
    elements[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(c, d));
  }
  static TORCHDIFF_INLINE Bits load_bits(const uint32_t* a) { return _mm512_loadu_si512(a); }
  static TORCHDIFF_INLINE Real load(const float* a) { return _mm512_loadu_ps(a); }
  static TORCHDIFF_INLINE void store(float* out, Real a) { _mm512_storeu_ps(out, a); }
  // The first `count` lanes, 0 < count < 16; the others are 0 and not touched.
  static TORCHDIFF_INLINE Mask first(int count) { return static_cast<Mask>((1u << count) - 1u); }
  static TORCHDIFF_INLINE Real load(Mask m, const float* a) { return _mm512_maskz_loadu_ps(m, a); }
  static TORCHDIFF_INLINE void store(Mask m, float* out, Real a) { _mm512_mask_storeu_ps(out, m, a); }
};

}  // namespace torchdiff
