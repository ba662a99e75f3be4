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

}  // namespace torchdiff
