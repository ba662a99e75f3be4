// The inner loops, once for all instruction sets. A source that includes this switches its instruction set on before,
// for templates have that of the place where they are written; everything here is inlined, so that nothing else in the
// library can meet it.
#pragma once

#include "norms.h"
#include "step_cpu.h"

namespace torchdiff {

template <typename Pack>
TORCHDIFF_INLINE void maps_loop(const uint32_t* words, int count, float* radius, float* first, float* second) {
  for (int i = 0; i < count; i += Pack::kLanes) {
    const auto w = Pack::load_bits(words + i);
    typename Pack::Real a, b;
    direction32<Pack>(Pack::bits(0), w, a, b);
    Pack::store(radius + i, radius32<Pack>(w));
    Pack::store(first + i, a);
    Pack::store(second + i, b);
  }
}

template <typename Pack>
TORCHDIFF_INLINE void normals_loop(const Counters& counters, uint64_t draw, int blocks, float* out) {
  using Word = typename Pack::Word;
  const Word draw_word = Pack::word(static_cast<uint32_t>(draw));
  for (int i = 0; i < blocks; i += Pack::kLanes) {
    uint32_t low[Pack::kLanes], high[Pack::kLanes], first[Pack::kLanes], second[Pack::kLanes];
    for (int lane = 0; lane < Pack::kLanes; ++lane) {
      const uint64_t key = draw_key(counters.seed[i + lane], draw), sample = counters.sample[i + lane];
      low[lane] = static_cast<uint32_t>(sample);
      high[lane] = static_cast<uint32_t>(sample >> 32);
      first[lane] = static_cast<uint32_t>(key);
      second[lane] = static_cast<uint32_t>(key >> 32);
    }
    Groups<Pack, 1> group;
    auto &a = group.a[0], &b = group.b[0];
    Word k0a, k0b, k1a, k1b;
    Pack::gather(counters.block + i, a[0], b[0]);
    a[1] = b[1] = draw_word;
    Pack::gather(low, a[2], b[2]);
    Pack::gather(high, a[3], b[3]);
    Pack::gather(first, k0a, k0b);
    Pack::gather(second, k1a, k1b);
    TORCHDIFF_UNROLL_ROUNDS
    for (int round = 0; round < kRounds; ++round) {
      philox_round<Pack>(a, k0a, k1a);
      philox_round<Pack>(b, k0b, k1b);
      k0a = Pack::plus(k0a, 0x9E3779B9);
      k0b = Pack::plus(k0b, 0x9E3779B9);
      k1a = Pack::plus(k1a, 0xBB67AE85);
      k1b = Pack::plus(k1b, 0xBB67AE85);
    }
    group.elements(out + 4 * i);
  }
}

// What has no pack of its own. Each stage is a loop over small arrays: gcc vectorises them so, and not a loop that does
// all of it.
template <typename T>
TORCHDIFF_INLINE void plain_normals(const Counters& counters, uint64_t draw, int blocks, T* out) {
  Words words[kGroup];
  for (int i = 0; i < blocks; i += kGroup) {
    for (int k = 0; k < kGroup; ++k) {
      words[k] = block_words(counters.seed[i + k], draw, counters.sample[i + k], counters.block[i + k]);
    }
    for (int k = 0; k < kGroup; ++k) box_muller<T>(words[k], out + 4 * (i + k));
  }
}

template <typename T>
TORCHDIFF_INLINE void plain_squares(const T* values, int blocks, double* lanes) {
  for (int b = 0; b < blocks; ++b) {
    const T* v = values + 4 * b;
    lanes[b] = add(lanes[b], sum_of_squares(v[0], v[1], v[2], v[3]));
  }
}

template <typename Pack, typename T>
TORCHDIFF_INLINE void squares_loop(const T* values, int blocks, double* lanes) {
  int b = 0;
  for (; b + 4 <= blocks; b += 4) Pack::add_squares(values + 4 * b, lanes + b);
  plain_squares(values + 4 * b, blocks - b, lanes + b);
}

}  // namespace torchdiff
