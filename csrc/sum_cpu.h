// Row sums of columns that stand in memory. For loops_cpu.h.
#pragma once

#include "affine.h"
#include "finite.h"
#include "simd_cpu.h"

namespace torchdiff {

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

// Each stage is a loop of its own, which gcc vectorises.
TORCHDIFF_INLINE bool plain_sum(const Row<double, double>& row, int count, double* out) {
  for (int i = 0; i < count; ++i) out[i] = accumulate(0.0, row.weights[row.count - 1], row.columns[row.count - 1][i]);
  for (int c = row.count - 2; c >= 0; --c) {
    for (int i = 0; i < count; ++i) out[i] = accumulate(out[i], row.weights[c], row.columns[c][i]);
  }
  return all_finite(out, count);
}

}  // namespace torchdiff
