// Philox4x32: four random words for a counter of four words and a key of two, and what goes into both.
// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", constants of Random123's philox.h.
#pragma once

#include <cstdint>

#include "ieee.h"

namespace torchdiff {

constexpr int kRounds = 10;

struct Words {
  uint32_t at[4];
};

// The keys of each round; the same for all blocks of a sample, so that loops over blocks make them once.
struct RoundKeys {
  uint32_t first[kRounds], second[kRounds];
};

TORCHDIFF_INLINE RoundKeys round_keys(uint64_t key) {
  RoundKeys keys;
  for (int round = 0; round < kRounds; ++round) {
    keys.first[round] = static_cast<uint32_t>(key) + 0x9E3779B9u * static_cast<uint32_t>(round);
    keys.second[round] = static_cast<uint32_t>(key >> 32) + 0xBB67AE85u * static_cast<uint32_t>(round);
  }
  return keys;
}

// One round on words of any pack. k0 and k1 are words of the same pack.
template <typename Pack>
TORCHDIFF_INLINE void philox_round(typename Pack::Word* c, typename Pack::Word k0, typename Pack::Word k1) {
  const auto p0 = Pack::product(c[0], 0xD2511F53);
  const auto p1 = Pack::product(c[2], 0xCD9E8D57);
  const auto c1 = c[1], c3 = c[3];
  c[0] = Pack::differ3(Pack::high(p1), c1, k0);
  c[1] = Pack::low(p1);
  c[2] = Pack::differ3(Pack::high(p0), c3, k1);
  c[3] = Pack::low(p0);
}

TORCHDIFF_INLINE Words philox(Words counter, uint32_t k0, uint32_t k1, int rounds = kRounds) {
  for (int round = 0; round < rounds; ++round) {
    philox_round<One>(counter.at, k0, k1);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return counter;
}

// Draws beyond 32 bits advance the key. The factor is odd, so no two high words of a seed share a key.
TORCHDIFF_INLINE uint64_t draw_key(uint64_t seed, uint64_t draw) { return seed + (draw >> 32) * 0x9E3779B97F4A7C15; }

// The words of one block: elements 4 * block to 4 * block + 3 of one sample.
TORCHDIFF_INLINE Words block_words(uint64_t seed, uint64_t draw, uint64_t sample, uint32_t block) {
  const uint64_t key = draw_key(seed, draw);
  const Words counter = {
      {block, static_cast<uint32_t>(draw), static_cast<uint32_t>(sample), static_cast<uint32_t>(sample >> 32)}};
  return philox(counter, static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32));
}

}  // namespace torchdiff
