// Whether values are finite, for the CPU loops.
#pragma once

#include <cstdint>

namespace torchdiff {

// No value has an exponent of all ones. Without an exit, so that it is vectorised.
template <typename Bits, Bits kExponent>
inline bool all_finite(const Bits* values, int64_t count) {
  Bits bad = 0;
  for (int64_t i = 0; i < count; ++i) bad |= static_cast<Bits>((values[i] & kExponent) == kExponent);
  return bad == 0;
}

inline bool all_finite(const float* values, int64_t count) {
  return all_finite<uint32_t, 0x7F800000>(reinterpret_cast<const uint32_t*>(values), count);
}
inline bool all_finite(const double* values, int64_t count) {
  return all_finite<uint64_t, 0x7FF0000000000000>(reinterpret_cast<const uint64_t*>(values), count);
}

}  // namespace torchdiff
