// Division by a number known before the launch: two multiplications instead of some 70 instructions on a GPU.
#pragma once

#include <cstdint>

#include "ieee.h"

namespace torchdiff {

// n / value for 0 <= n < 2^63 and value >= 1, exactly.
// Source: Granlund & Montgomery 1994, "Division by invariant integers using multiplication", theorem 4.2 with N = 63:
// m = floor(2^(63 + l) / d) + 1 with l = ceil(log2 d) fits into 64 bits, and n / d = m n / 2^(63 + l), rounded down.
struct Divisor {
  int64_t value;
  uint64_t magic;  // 0: the value is 1
  int shift;
};

inline Divisor divisor(int64_t value) {
  if (value == 1) return {1, 0, 0};
  int log = 1;
  while ((uint64_t{1} << log) < static_cast<uint64_t>(value)) ++log;
  const unsigned __int128 power = static_cast<unsigned __int128>(1) << (63 + log);
  return {value, static_cast<uint64_t>(power / static_cast<uint64_t>(value)) + 1, log - 1};
}

TORCHDIFF_INLINE uint64_t high_product(uint64_t a, uint64_t b) {
#if defined(__CUDA_ARCH__)
  return __umul64hi(a, b);
#else
  return static_cast<uint64_t>((static_cast<unsigned __int128>(a) * b) >> 64);
#endif
}

TORCHDIFF_INLINE int64_t quotient(int64_t n, const Divisor& by) {
  if (by.magic == 0) return n;
  return static_cast<int64_t>(high_product(static_cast<uint64_t>(n), by.magic) >> by.shift);
}

}  // namespace torchdiff
