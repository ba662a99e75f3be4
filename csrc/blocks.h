// One noise block of one call, start to end: what a CUDA thread does. Plain host-device code, so that the tests run
// it on the CPU (blocks_cpu.cpp) and compare its bits with the CPU loops and the Python reference.
#pragma once

#include <torch/headeronly/core/ScalarType.h>

#include <type_traits>

#include "affine.h"
#include "convert.h"
#include "normal.h"
#include "problem.h"

namespace torchdiff {

// Everything travels by value in the kernel's parameters, so that a launch copies nothing and a graph can capture it.
// Parameters end at 4 KiB; these bounds take 2.7.
constexpr int kMaxDims = 6;
constexpr int kMaxColumns = 40;  // tensors read and written

struct BlockColumn {
  char* data;
  int64_t strides[kMaxDims];
  ScalarType dtype;
  bool flat;
};

struct BlockProblem {
  int64_t event, blocks_per_sample, blocks;
  int64_t sizes[kMaxDims];
  int dims, inputs, rows, draws;
  bool weights_per_sample, seed_per_sample;
  const double* weights;  // null: the one weight is 1
  const int64_t* seeds;
  const int64_t* draw_numbers;
  uint64_t first_index;
  BlockColumn columns[kMaxColumns];  // the inputs, then the outputs
};

inline BlockProblem block_problem(const Problem& problem) {
  BlockProblem block = {};
  block.event = problem.event;
  block.blocks_per_sample = (problem.event + 3) / 4;
  block.blocks = problem.batch * block.blocks_per_sample;
  block.dims = static_cast<int>(problem.layout.sizes.size());
  block.inputs = problem.inputs;
  block.rows = problem.rows;
  block.draws = problem.draws;
  block.weights_per_sample = problem.weights_per_sample;
  block.seed_per_sample = problem.seed_per_sample;
  block.weights = problem.inputs == 0 ? nullptr : problem.weights.const_data_ptr<double>();
  block.seeds = problem.seeds.const_data_ptr<int64_t>();
  block.draw_numbers = problem.draw_numbers.const_data_ptr<int64_t>();
  block.first_index = problem.first_index;
  for (int d = 0; d < block.dims; ++d) block.sizes[d] = problem.layout.sizes[d];
  for (size_t j = 0; j < problem.layout.columns.size(); ++j) {
    const Column& column = problem.layout.columns[j];
    block.columns[j].data = column.data;
    block.columns[j].dtype = column.dtype;
    block.columns[j].flat = column.flat;
    for (int d = 0; d < block.dims; ++d) block.columns[j].strides[d] = column.strides[d];
  }
  return block;
}

TORCHDIFF_INLINE int64_t offset_of(const BlockProblem& problem, const BlockColumn& column, int64_t element) {
  if (column.flat) return element;
  int64_t offset = 0;
  for (int d = problem.dims - 1; d >= 0; --d) {
    offset += element % problem.sizes[d] * column.strides[d];
    element /= problem.sizes[d];
  }
  return offset;
}

template <typename T>
TORCHDIFF_INLINE T load(const BlockColumn& column, int64_t offset) {
  switch (column.dtype) {
    case ScalarType::Float:
      return convert<T>(reinterpret_cast<const float*>(column.data)[offset]);
    case ScalarType::Double:
      return convert<T>(reinterpret_cast<const double*>(column.data)[offset]);
    case ScalarType::Half:
      return convert<T>(reinterpret_cast<const torch::headeronly::Half*>(column.data)[offset]);
    default:
      return convert<T>(reinterpret_cast<const torch::headeronly::BFloat16*>(column.data)[offset]);
  }
}

template <typename T>
TORCHDIFF_INLINE void store(const BlockColumn& column, int64_t offset, T value) {
  switch (column.dtype) {
    case ScalarType::Float:
      reinterpret_cast<float*>(column.data)[offset] = convert<float>(value);
      break;
    case ScalarType::Double:
      reinterpret_cast<double*>(column.data)[offset] = convert<double>(value);
      break;
    case ScalarType::Half:
      reinterpret_cast<torch::headeronly::Half*>(column.data)[offset] = convert<torch::headeronly::Half>(value);
      break;
    default:
      reinterpret_cast<torch::headeronly::BFloat16*>(column.data)[offset] = convert<torch::headeronly::BFloat16>(value);
  }
}

// A row sum under way, in float or double.
struct Sum32 {
  Sum<One> sum = {0.0f, 0.0f};
  TORCHDIFF_INLINE void add_column(double weight, float value) { accumulate(sum, split(weight), value); }
  TORCHDIFF_INLINE float add_state(double weight, float value) const { return finish(sum, split(weight), value); }
};
struct Sum64 {
  double sum = 0.0;
  TORCHDIFF_INLINE void add_column(double weight, double value) { sum = accumulate(sum, weight, value); }
  TORCHDIFF_INLINE double add_state(double weight, double value) const { return accumulate(sum, weight, value); }
};

// Rows first_row to first_row + ROWS - 1 of block `index`; Normal is float or double. More rows than ROWS make their
// noise again, in another thread, which is cheaper than the registers to keep it.
template <int ROWS, typename Normal>
TORCHDIFF_INLINE void run_block(const BlockProblem& problem, int64_t index, int first_row) {
  const int64_t sample = index / problem.blocks_per_sample;
  const int64_t block = index % problem.blocks_per_sample;
  const int64_t begin = sample * problem.event + 4 * block;
  const int64_t left = problem.event - 4 * block;
  const int lanes = left < 4 ? static_cast<int>(left) : 4;
  const int columns = problem.inputs + problem.draws;
  const double* weights = problem.weights;
  if (problem.weights_per_sample) weights += sample * problem.rows * columns;

  typename std::conditional<std::is_same<Normal, float>::value, Sum32, Sum64>::type sum[ROWS][4];
  Normal values[4];
  for (int c = columns - 1; c >= 0; --c) {
    if (c < problem.inputs) {
      TORCHDIFF_UNROLL
      for (int lane = 0; lane < 4; ++lane) {
        values[lane] =
            lane < lanes ? load<Normal>(problem.columns[c], offset_of(problem, problem.columns[c], begin + lane)) : 0;
      }
    } else {
      const uint64_t seed = static_cast<uint64_t>(problem.seeds[problem.seed_per_sample ? sample : 0]);
      const uint64_t draw = static_cast<uint64_t>(problem.draw_numbers[c - problem.inputs]);
      const uint64_t number = problem.first_index + (problem.seed_per_sample ? 0 : static_cast<uint64_t>(sample));
      box_muller(block_words(seed, draw, number, static_cast<uint32_t>(block)), values);
    }
    if (c == 0) break;
    TORCHDIFF_UNROLL
    for (int r = 0; r < ROWS; ++r) {
      // Rows past the last repeat it and are not stored: a break would keep `sum` out of the registers.
      const int row = first_row + r < problem.rows ? first_row + r : problem.rows - 1;
      TORCHDIFF_UNROLL
      for (int lane = 0; lane < 4; ++lane) sum[r][lane].add_column(weights[row * columns + c], values[lane]);
    }
  }
  TORCHDIFF_UNROLL
  for (int r = 0; r < ROWS; ++r) {
    if (first_row + r < problem.rows) {
      const double weight = weights == nullptr ? 1.0 : weights[(first_row + r) * columns];
      const BlockColumn& column = problem.columns[problem.inputs + first_row + r];
      TORCHDIFF_UNROLL
      for (int lane = 0; lane < 4; ++lane) {
        if (lane < lanes) {
          store(column, offset_of(problem, column, begin + lane), sum[r][lane].add_state(weight, values[lane]));
        }
      }
    }
  }
}

}  // namespace torchdiff
