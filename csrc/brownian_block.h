// One noise block of one brownian call, all its times: what a CUDA thread does. Plain host-device code, so that the
// tests run it on the CPU (brownian_cpu.cpp) and compare its bits with the CPU loops and the Python reference.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <vector>

#include "convert.h"
#include "arguments.h"
#include "brownian.h"
#include "problem.h"

namespace torchdiff {

// The times of one launch. They travel in the kernel's parameters, of which there are 4 KiB, so that a launch copies
// nothing, waits for nothing and can be captured by a graph; more times take more launches.
constexpr int kTimes = 257;

struct BrownianProblem {
  int64_t batch, event, blocks_per_sample;
  Streams streams;
  bool integral;
  uint64_t path;
  double horizon;
  Spread spread;
  void* increments;  // (intervals, batch, event), contiguous
  void* integrals;   // the same, if `integral`
  int times;
  int32_t ticks[kTimes];
};

// times in ticks: rounded to the nearest, halves to even. Refuses what lies more than one ulp of the horizon outside.
inline std::vector<int32_t> ticks_of(const Tensor& times, double horizon) {
  const double* data = times.const_data_ptr<double>();
  const double ulp = horizon * 0x1p-52;
  std::vector<int32_t> ticks(static_cast<size_t>(times.numel()));
  for (size_t k = 0; k < ticks.size(); ++k) {
    const double t = data[static_cast<int64_t>(k) * times.stride(0)];
    STD_TORCH_CHECK(t >= -ulp && t <= horizon + ulp, "brownian: times[", k, "] = ", t, " is outside [0, ", horizon,
                    "]; the path ends there");
    const double tick = std::nearbyint(t / horizon * static_cast<double>(kTicks));
    ticks[k] = static_cast<int32_t>(std::min(std::max(tick, 0.0), static_cast<double>(kTicks)));
  }
  return ticks;
}

// Everything but the outputs and the times.
inline BrownianProblem brownian_problem(const std::vector<int64_t>& shape, const Tensor& seeds, int64_t first_index,
                                        int64_t path, double horizon, bool integral) {
  BrownianProblem problem = {};
  problem.batch = shape[0];
  problem.event = event_size(shape);
  problem.blocks_per_sample = (problem.event + 3) / 4;
  problem.streams = streams_of(seeds, first_index);
  problem.integral = integral;
  problem.path = static_cast<uint64_t>(path);
  problem.horizon = horizon;
  problem.spread = spread_of(horizon);
  return problem;
}

// The increments, and the integrals if asked for, still empty.
inline std::vector<Tensor> brownian_outputs(const std::vector<int64_t>& shape, const Tensor& seeds, const Tensor& times,
                                            bool integral, ScalarType dtype) {
  std::vector<int64_t> sizes = {times.numel() - 1};
  sizes.insert(sizes.end(), shape.begin(), shape.end());
  std::vector<Tensor> outputs;
  for (int i = 0; i < 1 + integral; ++i) {
    outputs.push_back(torch::stable::empty(sizes, dtype, std::nullopt, seeds.device()));
  }
  return outputs;
}

// The problem of times first to first + count - 1, `count` at most kTimes.
inline BrownianProblem part_of(BrownianProblem problem, const std::vector<int32_t>& ticks, size_t first, size_t count,
                               const std::vector<Tensor>& outputs) {
  problem.times = static_cast<int>(count);
  std::copy_n(ticks.begin() + static_cast<int64_t>(first), count, problem.ticks);
  const int64_t offset = static_cast<int64_t>(first) * problem.batch * problem.event;
  const int64_t bytes = outputs[0].element_size() * offset;
  problem.increments = static_cast<char*>(outputs[0].mutable_data_ptr()) + bytes;
  if (problem.integral) problem.integrals = static_cast<char*>(outputs[1].mutable_data_ptr()) + bytes;
  return problem;
}

// The four points of a block at one time, by walking down from the root; Normal is float or double.
template <typename Normal>
TORCHDIFF_INLINE void walk(const BrownianProblem& problem, uint64_t seed, uint64_t sample, uint32_t block, int32_t tick,
                           Point* points) {
  Normal z[4], n[4];
  Cell cells[4];
  box_muller(block_words(seed, node_draw(problem.path, 0, 0), sample, block), z);
  box_muller(block_words(seed, node_draw(problem.path, 0, 1), sample, block), n);
  TORCHDIFF_UNROLL
  for (int lane = 0; lane < 4; ++lane) {
    points[lane] = {0.0, 0.0};
    cells[lane] = {mul(problem.spread.root_w, convert<double>(z[lane])),
                   mul(problem.spread.root_h, convert<double>(n[lane]))};
    if (tick == kTicks) points[lane] = beyond(points[lane], cells[lane], 1.0);
  }
  double length = 1.0;
  for (int level = 0; level < kDepth; ++level) {
    if ((tick & ((1 << (kDepth - level)) - 1)) == 0) break;  // the time is where this cell starts
    const uint64_t node = (uint64_t{1} << level) + (static_cast<uint32_t>(tick) >> (kDepth - level));
    const bool right = (tick >> (kDepth - 1 - level) & 1) != 0;
    length *= 0.5;
    box_muller(block_words(seed, node_draw(problem.path, node, 0), sample, block), z);
    box_muller(block_words(seed, node_draw(problem.path, node, 1), sample, block), n);
    TORCHDIFF_UNROLL
    for (int lane = 0; lane < 4; ++lane) {
      const double scaled_z = mul(problem.spread.z[level], convert<double>(z[lane]));
      const double scaled_n = mul(problem.spread.n[level], convert<double>(n[lane]));
      const Cell first = first_half(cells[lane].w, cells[lane].h, scaled_z, scaled_n);
      if (right) {
        points[lane] = beyond(points[lane], first, length);
        cells[lane] = second_half(cells[lane].w, cells[lane].h, scaled_z, scaled_n);
      } else {
        cells[lane] = first;
      }
    }
  }
}

// All times of block `index`. T is the dtype of the outputs.
template <typename T, typename Normal>
TORCHDIFF_INLINE void run_brownian_block(const BrownianProblem& problem, int64_t index) {
  const int64_t sample = index / problem.blocks_per_sample;
  const int64_t block = index % problem.blocks_per_sample;
  const uint64_t seed = problem.streams.seed(sample), number = problem.streams.number(sample);
  const int64_t left = problem.event - 4 * block;
  int64_t at = sample * problem.event + 4 * block;
  Point before[4], points[4];
  walk<Normal>(problem, seed, number, static_cast<uint32_t>(block), problem.ticks[0], before);
  for (int k = 1; k < problem.times; ++k, at += problem.batch * problem.event) {
    walk<Normal>(problem, seed, number, static_cast<uint32_t>(block), problem.ticks[k], points);
    const double length = (problem.ticks[k] - problem.ticks[k - 1]) * (1.0 / kTicks);
    TORCHDIFF_UNROLL
    for (int lane = 0; lane < 4; ++lane) {
      if (lane < left) {
        static_cast<T*>(problem.increments)[at + lane] = convert<T>(sub(points[lane].w, before[lane].w));
        if (problem.integral) {
          static_cast<T*>(problem.integrals)[at + lane] =
              convert<T>(mul(problem.horizon, area_between(before[lane], points[lane], length)));
        }
      }
      before[lane] = points[lane];
    }
  }
}

}  // namespace torchdiff
