// One draw of one sample, block after block. For loops_cpu.h.
#pragma once

#include "normal.h"
#include "several.h"
#include "simd_cpu.h"

namespace torchdiff {

// Groups of Pack::kLanes blocks are made so many at a time. Cycles a normal of one and of two: 2.6 and 2.2 with
// AVX-512, where the operations alone take 1.7; 4.4 and 3.7 with AVX2, though its registers overflow.
constexpr int kAbreast = 2;

// Groups of Pack::kLanes blocks that are made side by side.
template <typename Pack, int kGroups>
struct Groups {
  typename Pack::Word a[kGroups][4], b[kGroups][4];  // half of the blocks of each

  TORCHDIFF_INLINE void philox(const RoundKeys& keys) {
    TORCHDIFF_UNROLL_ROUNDS
    for (int round = 0; round < kRounds; ++round) {
      const auto k0 = Pack::word(keys.first[round]), k1 = Pack::word(keys.second[round]);
      for (int g = 0; g < kGroups; ++g) {
        philox_round<Pack>(a[g], k0, k1);
        philox_round<Pack>(b[g], k0, k1);
      }
    }
  }

  // The 4 * kGroups * Pack::kLanes elements, from the words.
  TORCHDIFF_INLINE void elements(float* out) const {
    using Pairs = Several<Pack, 2 * kGroups>;
    typename Pairs::Bits r, w;
    for (int k = 0; k < 2 * kGroups; ++k) {
      const int g = k / 2, word = k % 2 * 2;
      r.at[k] = Pack::join(a[g][word], b[g][word]);
      w.at[k] = Pack::join(a[g][word + 1], b[g][word + 1]);
    }
    typename Pairs::Real first, second;
    box_muller_pair<Pairs>(r, w, first, second);
    for (int g = 0; g < kGroups; ++g) {
      const typename Pack::Real z[4] = {first.at[2 * g], second.at[2 * g], first.at[2 * g + 1], second.at[2 * g + 1]};
      typename Pack::Real turned[4];
      Pack::turn(z, turned);
      for (int k = 0; k < 4; ++k) Pack::store(out + (4 * g + k) * Pack::kLanes, turned[k]);
    }
  }
};

template <typename Pack>
struct Draw {
  RoundKeys keys;
  typename Pack::Word number, low, high;

  TORCHDIFF_INLINE void set(const Run& run, uint64_t draw) {
    keys = round_keys(draw_key(run.seed, draw));
    number = Pack::word(static_cast<uint32_t>(draw));
    low = Pack::word(static_cast<uint32_t>(run.sample));
    high = Pack::word(static_cast<uint32_t>(run.sample >> 32));
  }

  // The elements of kGroups groups from block `first` on.
  template <int kGroups>
  TORCHDIFF_INLINE void elements(uint32_t first, float* out) const {
    Groups<Pack, kGroups> groups;
    for (int g = 0; g < kGroups; ++g) {
      auto &a = groups.a[g], &b = groups.b[g];
      Pack::blocks(first + static_cast<uint32_t>(g * Pack::kLanes), a[0], b[0]);
      a[1] = b[1] = number;
      a[2] = b[2] = low;
      a[3] = b[3] = high;
    }
    groups.philox(keys);
    groups.elements(out);
  }
};

template <typename Pack>
TORCHDIFF_INLINE void run_loop(const Run& run, uint64_t draw, int blocks, float* out) {
  constexpr int kAtOnce = kAbreast * Pack::kLanes;
  Draw<Pack> source;
  source.set(run, draw);
  int i = 0;
  for (; i + kAtOnce <= blocks; i += kAtOnce) {
    source.template elements<kAbreast>(run.block + static_cast<uint32_t>(i), out + 4 * i);
  }
  for (; i < blocks; i += Pack::kLanes) {
    source.template elements<1>(run.block + static_cast<uint32_t>(i), out + 4 * i);
  }
}

}  // namespace torchdiff
