// The inner loops, once for all instruction sets. A source that includes this switches its instruction set on before,
// for templates have that of the place where they are written; everything here is inlined, so that nothing else in the
// library can meet it.
#pragma once

#include "affine.h"
#include "finite.h"
#include "normal.h"
#include "norms.h"
#include "simd_cpu.h"

namespace torchdiff {

// The elements of Pack::kLanes blocks, from their words.
template <typename Pack>
TORCHDIFF_INLINE void elements_of(const typename Pack::Word* a, const typename Pack::Word* b,
                                  typename Pack::Real* elements) {
  typename Pack::Real z[4];
  box_muller_pair<Pack>(Pack::join(a[0], b[0]), Pack::join(a[1], b[1]), z[0], z[1]);
  box_muller_pair<Pack>(Pack::join(a[2], b[2]), Pack::join(a[3], b[3]), z[2], z[3]);
  Pack::turn(z, elements);
}

// Whether all values that went into `watch` were finite, by watch = fma(0, value, watch) from 0: it stays 0, or is nan
// from the first infinity or nan on.
template <typename Pack>
TORCHDIFF_INLINE bool all_were_finite(typename Pack::Real watch) {
  float lanes[Pack::kLanes];
  Pack::store(lanes, watch);
  bool fine = true;
  for (int k = 0; k < Pack::kLanes; ++k) fine = fine && lanes[k] == 0.0f;
  return fine;
}

// One draw of one sample, ready to be made block after block.
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

  // The 4 * kLanes elements from block `first` on.
  TORCHDIFF_INLINE void elements(uint32_t first, typename Pack::Real* out) const {
    typename Pack::Word a[4], b[4];
    Pack::blocks(first, a[0], b[0]);
    a[1] = b[1] = number;
    a[2] = b[2] = low;
    a[3] = b[3] = high;
    TORCHDIFF_UNROLL_ROUNDS
    for (int round = 0; round < kRounds; ++round) {
      const auto k0 = Pack::word(keys.first[round]), k1 = Pack::word(keys.second[round]);
      philox_round<Pack>(a, k0, k1);
      philox_round<Pack>(b, k0, k1);
    }
    elements_of<Pack>(a, b, out);
  }
};

template <typename Pack>
TORCHDIFF_INLINE void run_loop(const Run& run, uint64_t draw, int blocks, float* out) {
  Draw<Pack> source;
  source.set(run, draw);
  for (int i = 0; i < blocks; i += Pack::kLanes) {
    typename Pack::Real z[4];
    source.elements(run.block + static_cast<uint32_t>(i), z);
    for (int k = 0; k < 4; ++k) Pack::store(out + 4 * i + k * Pack::kLanes, z[k]);
  }
}

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

// Whole rows, with the noise in registers: loads wait for memory while the next normals are made.
template <typename Pack, int kDraws>
TORCHDIFF_INLINE void step_loop(const Step& step) {
  Draw<Pack> sources[kDraws];
  for (int q = 0; q < kDraws; ++q) sources[q].set(step.run, step.draws[q]);
  const int columns = step.inputs + kDraws;
  typename Pack::Real watch = Pack::real(0.0f);
  for (int i = 0; i < step.count; i += 4 * Pack::kLanes) {
    typename Pack::Real z[kDraws][4];
    for (int q = 0; q < kDraws; ++q) sources[q].elements(step.run.block + static_cast<uint32_t>(i / 4), z[q]);
    for (int r = 0; r < step.rows; ++r) {
      const Weight* weights = step.weights + r * columns;
      const float* state = step.columns[0] + i;
      float* out = step.out[r] + i;
      Sum<Pack> sum[4];
      for (int k = 0; k < 4; ++k) sum[k] = {Pack::real(0.0f), Pack::real(0.0f)};
      for (int q = kDraws - 1; q >= 0; --q) {
        for (int k = 0; k < 4; ++k) accumulate(sum[k], weights[step.inputs + q], z[q][k]);
      }
      for (int c = step.inputs - 1; c > 0; --c) {
        const float* column = step.columns[c] + i;
        for (int k = 0; k < 4; ++k) accumulate(sum[k], weights[c], Pack::load(column + k * Pack::kLanes));
      }
      const Weight weight = weights[0];
      for (int k = 0; k < 4; ++k) {
        const auto total = finish(sum[k], weight, Pack::load(state + k * Pack::kLanes));
        if (r == 0) watch = Pack::fma(Pack::real(0.0f), total, watch);
        Pack::store(out + k * Pack::kLanes, total);
      }
    }
  }
  if (!all_were_finite<Pack>(watch)) *step.finite = false;
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
    Word a[4], b[4], k0a, k0b, k1a, k1b;
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
    typename Pack::Real z[4];
    elements_of<Pack>(a, b, z);
    for (int k = 0; k < 4; ++k) Pack::store(out + 4 * i + k * Pack::kLanes, z[k]);
  }
}

template <typename Pack>
TORCHDIFF_INLINE bool sum_loop(const Row<float, Weight>& row, int count, float* out) {
  constexpr int kSteps = 4;  // packs at once: enough for the latency of the two chains of fma
  typename Pack::Real watch[kSteps];
  for (int k = 0; k < kSteps; ++k) watch[k] = Pack::real(0.0f);
  int i = 0;
  for (; i + kSteps * Pack::kLanes <= count; i += kSteps * Pack::kLanes) {
    Sum<Pack> sum[kSteps];
    for (int k = 0; k < kSteps; ++k) sum[k] = {Pack::real(0.0f), Pack::real(0.0f)};
    for (int c = row.count - 1; c > 0; --c) {
      for (int k = 0; k < kSteps; ++k) {
        accumulate(sum[k], row.weights[c], Pack::load(row.columns[c] + i + k * Pack::kLanes));
      }
    }
    for (int k = 0; k < kSteps; ++k) {
      const auto total = finish(sum[k], row.weights[0], Pack::load(row.columns[0] + i + k * Pack::kLanes));
      watch[k] = Pack::fma(Pack::real(0.0f), total, watch[k]);
      Pack::store(out + i + k * Pack::kLanes, total);
    }
  }
  for (; i < count; i += Pack::kLanes) {
    const auto mask = Pack::first(count - i < Pack::kLanes ? count - i : Pack::kLanes);
    Sum<Pack> sum = {Pack::real(0.0f), Pack::real(0.0f)};
    for (int c = row.count - 1; c > 0; --c) accumulate(sum, row.weights[c], Pack::load(mask, row.columns[c] + i));
    const auto total = finish(sum, row.weights[0], Pack::load(mask, row.columns[0] + i));
    watch[0] = Pack::fma(Pack::real(0.0f), total, watch[0]);
    Pack::store(mask, out + i, total);
  }
  return all_were_finite<Pack>(Pack::add(Pack::add(watch[0], watch[1]), Pack::add(watch[2], watch[3])));
}

template <typename Pack>
TORCHDIFF_INLINE bool step_by_draws(const Step& step, int draws) {
  if (draws == 1) return step_loop<Pack, 1>(step), true;
  if (draws == 2) return step_loop<Pack, 2>(step), true;
  if (draws == 4) return step_loop<Pack, 4>(step), true;
  return false;
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

TORCHDIFF_INLINE bool plain_sum(const Row<double, double>& row, int count, double* out) {
  for (int i = 0; i < count; ++i) out[i] = accumulate(0.0, row.weights[row.count - 1], row.columns[row.count - 1][i]);
  for (int c = row.count - 2; c >= 0; --c) {
    for (int i = 0; i < count; ++i) out[i] = accumulate(out[i], row.weights[c], row.columns[c][i]);
  }
  return all_finite(out, count);
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
