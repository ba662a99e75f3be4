// Philox4x32: four random words for a counter of four words and a key of two, and what goes into both.
// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", constants of Random123's philox.h.
#pragma once

#include <cstdint>

#include "ieee.h"

namespace torchdiff {

struct Words {
  uint32_t at[4];
};

TORCHDIFF_INLINE Words philox(Words counter, uint32_t k0, uint32_t k1, int rounds = 10) {
  uint32_t c0 = counter.at[0], c1 = counter.at[1], c2 = counter.at[2], c3 = counter.at[3];
  for (int round = 0; round < rounds; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return {{c0, c1, c2, c3}};
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
