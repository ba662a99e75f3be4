// Between the dtype of a tensor and the one of the arithmetic, float or double. float16 and bfloat16 go through
// float32, as torch's own conversions from float64 do.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "ieee.h"

namespace torchdiff {

template <typename To, typename From>
TORCHDIFF_INLINE To convert(From value) {
  return static_cast<To>(static_cast<float>(value));
}
template <>
TORCHDIFF_INLINE double convert<double, double>(double value) {
  return value;
}

}  // namespace torchdiff
