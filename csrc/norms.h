// The 2-norm of a sample: one order of additions for every device, batch and number of threads.
//
//   q[b]     = (v0^2 + v1^2) + (v2^2 + v3^2), in float64, of the elements of noise block b; those past the sample are 0
//   lane[l]  = q[l] + q[l + kSumLanes] + q[l + 2 kSumLanes] + ..., in this order
//   range[r] = its kRange lanes, the upper half added to the lower one until one is left
//   norm     = the square root of the kRanges ranges, added up by halves as well
//
// Lanes without a block are 0 and may be left out: adding 0 changes no sum of squares. A lane is what a CUDA thread
// sums, a range what a CPU thread does. torchdiff/ops/reference.py says the same in plain torch.
#pragma once

#include "ieee.h"

namespace torchdiff {

constexpr int kRange = 256;  // lanes: 4 KiB of float32 on end, and sums that stay in the L1 cache
constexpr int kRanges = 16;  // 4096 threads a sample and column on a GPU; more would cost small samples more memory
constexpr int kSumLanes = kRange * kRanges;

template <typename T>
TORCHDIFF_INLINE double square(T value) {
  return mul(static_cast<double>(value), static_cast<double>(value));
}

template <typename T>
TORCHDIFF_INLINE double sum_of_squares(T a, T b, T c, T d) {
  return add(add(square(a), square(b)), add(square(c), square(d)));
}

// The upper half added to the lower one. A constant for each level: nvcc unrolls no loop that halves, and an array that
// is indexed by a variable would lie in local memory.
template <int kHalf>
TORCHDIFF_INLINE void halve(double* sum) {
  TORCHDIFF_UNROLL
  for (int k = 0; k < kHalf; ++k) sum[k] = add(sum[k], sum[k + kHalf]);
}

// `count` sums, a power of two up to 16, from `first` on at distances of `step`, added up by halves.
TORCHDIFF_INLINE double fold(const double* first, int64_t step, int count) {
  double sum[16];
  TORCHDIFF_UNROLL
  for (int k = 0; k < 16; ++k) sum[k] = k < count ? first[k * step] : 0.0;
  halve<8>(sum);
  halve<4>(sum);
  halve<2>(sum);
  halve<1>(sum);
  return sum[0];
}

// The least power of two that is not below `count`, but at most `most`.
TORCHDIFF_INLINE int up_to_power(int64_t count, int most) {
  int power = 1;
  while (power < count && power < most) power *= 2;
  return power;
}

// How many ranges of how many lanes are not 0 for certain.
struct Lanes {
  int ranges, width;
};

TORCHDIFF_INLINE Lanes lanes_of(int64_t blocks) {
  return {up_to_power((blocks + kRange - 1) / kRange, kRanges), up_to_power(blocks, kRange)};
}

}  // namespace torchdiff
