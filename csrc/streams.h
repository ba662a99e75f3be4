// Whose noise a sample gets: its seed, and its number under that seed.
#pragma once

#include "ieee.h"

namespace torchdiff {

struct Streams {
  const int64_t* seeds;
  bool per_sample;  // a seed a sample, all of them with number first_index; else one seed, and numbers from there on
  uint64_t first_index;

  TORCHDIFF_INLINE uint64_t seed(int64_t sample) const { return static_cast<uint64_t>(seeds[per_sample ? sample : 0]); }
  TORCHDIFF_INLINE uint64_t number(int64_t sample) const {
    return first_index + (per_sample ? 0 : static_cast<uint64_t>(sample));
  }
};

}  // namespace torchdiff
