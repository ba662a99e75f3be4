// The IEEE operations of the shared arithmetic, each rounded once and never merged with its neighbour.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__FAST_MATH__)
#error "torchdiff's bits need IEEE arithmetic: build without -ffast-math"
#endif

// always_inline on the host: the bodies must be compiled with the instruction set of the function they are used in
// (see simd_cpu.cpp), which an out-of-line copy would not be.
#if defined(__CUDACC__)
#define TORCHDIFF_INLINE __host__ __device__ __forceinline__
#define TORCHDIFF_UNROLL _Pragma("unroll")
#else
#define TORCHDIFF_UNROLL
#define TORCHDIFF_INLINE inline __attribute__((always_inline))
#endif
#if defined(__clang__)
#define TORCHDIFF_UNROLL_ROUNDS _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define TORCHDIFF_UNROLL_ROUNDS _Pragma("GCC unroll 10")
#endif

namespace torchdiff {

// nvcc contracts a * b + c into an fma and gcc with -ffp-contract=off does not, so the devices would drift apart: on
// the device every operation is an intrinsic that the compiler leaves alone. On the host fma is one instruction where
// the function allows it and libm's correctly rounded one where not: the same bits.
TORCHDIFF_INLINE float fma_rn(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#else
  return __builtin_fmaf(a, b, c);
#endif
}

TORCHDIFF_INLINE float mul(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

TORCHDIFF_INLINE double mul(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

TORCHDIFF_INLINE float add(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

TORCHDIFF_INLINE double add(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dadd_rn(a, b);
#else
  return a + b;
#endif
}

template <typename T>
TORCHDIFF_INLINE T sub(T a, T b) {
  return add(a, -b);
}

TORCHDIFF_INLINE double divide(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __ddiv_rn(a, b);
#else
  return a / b;
#endif
}

TORCHDIFF_INLINE float square_root(float a) {
#if defined(__CUDA_ARCH__)
  return __fsqrt_rn(a);
#else
  return __builtin_sqrtf(a);
#endif
}

TORCHDIFF_INLINE double square_root(double a) {
#if defined(__CUDA_ARCH__)
  return __dsqrt_rn(a);
#else
  return __builtin_sqrt(a);
#endif
}

template <typename To, typename From>
TORCHDIFF_INLINE To bits_as(From value) {
  static_assert(sizeof(To) == sizeof(From), "bits_as keeps the size");
  To result;
  memcpy(&result, &value, sizeof(To));
  return result;
}

// What the shared arithmetic is written on: float32 values, 32-bit integers, and words of Philox. One lane here, for
// CUDA threads and portable loops; pack_avx2.h and pack_avx512.h have the same names on 8 and 16 lanes.
struct One {
  using Real = float;
  using Bits = uint32_t;
  using Mask = bool;
  using Word = uint32_t;  // of which the low 32 bits count
  using Product = uint64_t;

  static TORCHDIFF_INLINE Real real(float a) { return a; }
  static TORCHDIFF_INLINE Real fma(Real a, Real b, Real c) { return fma_rn(a, b, c); }
  static TORCHDIFF_INLINE Real mul(Real a, Real b) { return torchdiff::mul(a, b); }
  static TORCHDIFF_INLINE Real add(Real a, Real b) { return torchdiff::add(a, b); }
  static TORCHDIFF_INLINE Real sub(Real a, Real b) { return torchdiff::sub(a, b); }
  static TORCHDIFF_INLINE Real square_root(Real a) { return torchdiff::square_root(a); }
  static TORCHDIFF_INLINE Real from_int(Bits a) { return static_cast<float>(static_cast<int32_t>(a)); }
  static TORCHDIFF_INLINE Real select(Mask m, Real a, Real b) { return m ? a : b; }
  static TORCHDIFF_INLINE Real keep(Mask m, Real a) { return m ? a : 0.0f; }

  static TORCHDIFF_INLINE Bits bits(uint32_t a) { return a; }
  static TORCHDIFF_INLINE Bits bits_of(Real a) { return bits_as<uint32_t>(a); }
  static TORCHDIFF_INLINE Real real_of(Bits a) { return bits_as<float>(a); }
  template <int n>
  static TORCHDIFF_INLINE Bits left(Bits a) {
    return a << n;
  }
  template <int n>
  static TORCHDIFF_INLINE Bits right(Bits a) {
    return a >> n;
  }
  template <int n>
  static TORCHDIFF_INLINE Bits right_signed(Bits a) {
    return static_cast<uint32_t>(static_cast<int32_t>(a) >> n);
  }
  static TORCHDIFF_INLINE Bits minus(Bits a, Bits b) { return a - b; }
  static TORCHDIFF_INLINE Bits both(Bits a, Bits b) { return a & b; }
  static TORCHDIFF_INLINE Bits either(Bits a, Bits b) { return a | b; }
  static TORCHDIFF_INLINE Bits differ(Bits a, Bits b) { return a ^ b; }
  static TORCHDIFF_INLINE Bits differ_where(Mask m, Bits a, Bits b) { return m ? a ^ b : a; }
  static TORCHDIFF_INLINE Mask less(Bits a, Bits b) { return static_cast<int32_t>(a) < static_cast<int32_t>(b); }
  static TORCHDIFF_INLINE Mask negative(Bits a) { return static_cast<int32_t>(a) < 0; }
  static TORCHDIFF_INLINE Mask opposite(Mask m) { return !m; }

  static TORCHDIFF_INLINE Word word(uint32_t a) { return a; }
  static TORCHDIFF_INLINE Product product(Word a, uint32_t b) { return uint64_t{a} * b; }
  static TORCHDIFF_INLINE Word low(Product a) { return static_cast<uint32_t>(a); }
  static TORCHDIFF_INLINE Word high(Product a) { return static_cast<uint32_t>(a >> 32); }
  static TORCHDIFF_INLINE Word differ3(Word a, Word b, Word c) { return a ^ b ^ c; }
  static TORCHDIFF_INLINE Word plus(Word a, uint32_t b) { return a + b; }
};

}  // namespace torchdiff
