// A float64 weight as two float32 parts.
#pragma once

#include "ieee.h"

namespace torchdiff {

struct Weight {
  float high, low;
};

TORCHDIFF_INLINE Weight split(double weight) {
  const float high = static_cast<float>(weight);
  return {high, static_cast<float>(sub(weight, static_cast<double>(high)))};
}

}  // namespace torchdiff
