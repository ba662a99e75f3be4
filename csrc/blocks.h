// One noise block of one call, start to end: what a CUDA thread does. Plain host-device code, so that the tests run
// it on the CPU (blocks_cpu.cpp) and compare its bits with the CPU loops and the Python reference.
#pragma once

#include <torch/headeronly/core/ScalarType.h>

#include "affine.h"
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

TORCHDIFF_INLINE double load(const BlockColumn& column, int64_t offset) {
  switch (column.dtype) {
    case ScalarType::Float:
      return widen(reinterpret_cast<const float*>(column.data)[offset]);
    case ScalarType::Double:
      return widen(reinterpret_cast<const double*>(column.data)[offset]);
    case ScalarType::Half:
      return widen(reinterpret_cast<const torch::headeronly::Half*>(column.data)[offset]);
    default:
      return widen(reinterpret_cast<const torch::headeronly::BFloat16*>(column.data)[offset]);
  }
}

TORCHDIFF_INLINE void store(const BlockColumn& column, int64_t offset, double value) {
  switch (column.dtype) {
    case ScalarType::Float:
      reinterpret_cast<float*>(column.data)[offset] = narrow<float>(value);
      break;
    case ScalarType::Double:
      reinterpret_cast<double*>(column.data)[offset] = value;
      break;
    case ScalarType::Half:
      reinterpret_cast<torch::headeronly::Half*>(column.data)[offset] = narrow<torch::headeronly::Half>(value);
      break;
    default:
      reinterpret_cast<torch::headeronly::BFloat16*>(column.data)[offset] = narrow<torch::headeronly::BFloat16>(value);
  }
}

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

  double sum[ROWS][4] = {};
  double values[4];
  for (int c = 0; c < columns; ++c) {
    if (c < problem.inputs) {
      TORCHDIFF_UNROLL
      for (int lane = 0; lane < 4; ++lane) {
        values[lane] =
            lane < lanes ? load(problem.columns[c], offset_of(problem, problem.columns[c], begin + lane)) : 0;
      }
    } else {
      const uint64_t seed = static_cast<uint64_t>(problem.seeds[problem.seed_per_sample ? sample : 0]);
      const uint64_t draw = static_cast<uint64_t>(problem.draw_numbers[c - problem.inputs]);
      const uint64_t number = problem.first_index + (problem.seed_per_sample ? 0 : static_cast<uint64_t>(sample));
      Normal normals[4];
      box_muller(block_words(seed, draw, number, static_cast<uint32_t>(block)), normals);
      for (int lane = 0; lane < 4; ++lane) values[lane] = widen(normals[lane]);
    }
    TORCHDIFF_UNROLL
    for (int r = 0; r < ROWS; ++r) {
      // Rows past the last repeat it and are not stored: a break would keep `sum` out of the registers.
      const int row = first_row + r < problem.rows ? first_row + r : problem.rows - 1;
      const double weight = weights == nullptr ? 1.0 : weights[row * columns + c];
      TORCHDIFF_UNROLL
      for (int lane = 0; lane < 4; ++lane) {
        sum[r][lane] = c == 0 ? mul(weight, values[lane]) : accumulate(sum[r][lane], weight, values[lane]);
      }
    }
  }
  TORCHDIFF_UNROLL
  for (int r = 0; r < ROWS; ++r) {
    if (first_row + r < problem.rows) {
      const BlockColumn& column = problem.columns[problem.inputs + first_row + r];
      TORCHDIFF_UNROLL
      for (int lane = 0; lane < 4; ++lane) {
        if (lane < lanes) store(column, offset_of(problem, column, begin + lane), sum[r][lane]);
      }
    }
  }
}

}  // namespace torchdiff
