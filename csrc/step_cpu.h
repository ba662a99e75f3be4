// Whole rows with noise: the normals of a few groups of blocks, then the sums over them. For loops_cpu.h.
#pragma once

#include "draw_cpu.h"
#include "sum_cpu.h"

namespace torchdiff {

// How far ahead of the sums inputs are fetched, in elements: 2 KiB, for what the core fetches by itself ends at each
// page. On one thread 5 to 9 % of a noisy step of 1M elements with 2 or 3 inputs, 20 % with 5; twice as far gains less.
constexpr int kAhead = 512;

// So many packs of a column in a row's sums.
template <typename Pack, int kPacks>
TORCHDIFF_INLINE void add_column(Sum<Pack>* sum, Weight weight, const float* column) {
  for (int k = 0; k < kPacks; ++k) accumulate(sum[k], weight, Pack::load(column + k * Pack::kLanes));
}

// kGroups groups, from element `at` on. The normals go through the L1 cache: in registers, the sums would leave none
// for a second group.
template <typename Pack, int kDraws, int kGroups>
TORCHDIFF_INLINE void step_groups(const Step& step, const Draw<Pack>* draws, int at, typename Pack::Real& watch) {
  constexpr int kPacks = 4, kCount = 4 * kGroups * Pack::kLanes;
  alignas(64) float z[kDraws][kCount];
  for (int q = 0; q < kDraws; ++q) {
    draws[q].template elements<kGroups>(step.run.block + static_cast<uint32_t>(at / 4), z[q]);
  }
  constexpr int kLine = 64 / sizeof(float);
  for (int c = 0; c < step.inputs; ++c) {
    for (int i = 0; i < kCount; i += kLine) __builtin_prefetch(step.columns[c] + at + kAhead + i);
  }
  for (int r = 0; r < step.rows; ++r) {
    const Weight* weights = step.weights + r * (step.inputs + kDraws);
    for (int i = 0; i < kCount; i += kPacks * Pack::kLanes) {
      Sum<Pack> sum[kPacks];
      for (int k = 0; k < kPacks; ++k) sum[k] = {Pack::real(0.0f), Pack::real(0.0f)};
      for (int q = kDraws - 1; q >= 0; --q) add_column<Pack, kPacks>(sum, weights[step.inputs + q], z[q] + i);
      for (int c = step.inputs - 1; c > 0; --c) add_column<Pack, kPacks>(sum, weights[c], step.columns[c] + at + i);
      const float* state = step.columns[0] + at + i;
      float* out = step.out[r] + at + i;
      const Weight weight = weights[0];
      for (int k = 0; k < kPacks; ++k) {
        const auto total = finish(sum[k], weight, Pack::load(state + k * Pack::kLanes));
        if (r == 0) watch = Pack::fma(Pack::real(0.0f), total, watch);
        Pack::store(out + k * Pack::kLanes, total);
      }
    }
  }
}

// Normals and sums in turns, a few hundred cycles each: the sums' loads wait for memory while the next normals are
// made.
template <typename Pack, int kDraws>
TORCHDIFF_INLINE void step_loop(const Step& step) {
  constexpr int kGroups = kAbreast, kCount = 4 * kGroups * Pack::kLanes;
  Draw<Pack> draws[kDraws];
  for (int q = 0; q < kDraws; ++q) draws[q].set(step.run, step.draws[q]);
  typename Pack::Real watch = Pack::real(0.0f);
  int at = 0;
  for (; at + kCount <= step.count; at += kCount) step_groups<Pack, kDraws, kGroups>(step, draws, at, watch);
  for (; at < step.count; at += 4 * Pack::kLanes) step_groups<Pack, kDraws, 1>(step, draws, at, watch);
  if (!all_were_finite<Pack>(watch)) *step.finite = false;
}

template <typename Pack>
TORCHDIFF_INLINE bool step_by_draws(const Step& step, int draws) {
  if (draws == 1) return step_loop<Pack, 1>(step), true;
  if (draws == 2) return step_loop<Pack, 2>(step), true;
  if (draws == 4) return step_loop<Pack, 4>(step), true;
  return false;
}

}  // namespace torchdiff
