// One call of affine or normal as a CUDA kernel's parameters, and where the elements of a noise block lie.
#pragma once

#include "divisor.h"
#include "problem.h"
#include "vectors.h"

namespace torchdiff {

// Everything travels by value in the kernel's parameters, so that a launch copies nothing and a graph can capture it.
// Weights, seeds and draw numbers stay in device memory: a captured graph reads what stands there when it is replayed.
constexpr int kMaxDims = 6;
constexpr int kMaxColumns = kMostTensors + kMostRows;

// Elements in row-major order are visited by steps; `jumps[k]` is how far the data moves on a step that ends exactly k
// inner dimensions. Element e comes after quotient_k(e) - quotient_(k + 1)(e) such steps, where quotient_k divides by
// the sizes of the k inner dimensions. Unsigned: single terms may pass 2^63, the sum does not.
struct BlockColumn {
  char* data;
  uint64_t jumps[kMaxDims];
  ScalarType dtype;
};

struct BlockProblem {
  int64_t event, groups;    // elements of a sample; threads' worth of work, `span` elements of one sample each
  Divisor groups_a_sample;  // the last one of a sample may be partly empty
  Divisor sizes[kMaxDims];  // joint dimensions, innermost first
  Divisor across, depth;    // see block_order
  int dims, inputs, rows, draws;
  bool weights_per_sample;
  const double* weights;  // null: the one weight is 1
  Streams streams;
  const int64_t* draw_numbers;
  BlockColumn columns[kMaxColumns];  // the inputs, then the outputs
};

inline BlockColumn block_column(const Column& column, const std::vector<int64_t>& sizes) {
  BlockColumn result = {column.data, {}, column.dtype};
  uint64_t back = 0;  // from the last element of the inner dimensions to their first
  for (size_t k = 0; k < sizes.size(); ++k) {
    const uint64_t stride = static_cast<uint64_t>(column.strides[sizes.size() - 1 - k]);
    result.jumps[k] = stride - back;
    back += static_cast<uint64_t>(sizes[sizes.size() - 1 - k] - 1) * stride;
  }
  return result;
}

// Where the second dimension is the one that lies close in memory (channels_last: sizes H W inside C, strides C and 1),
// neighbouring threads take neighbouring channels, so that a warp reads and writes whole lines. `across` is the number
// of channels and `depth` the blocks of one; across = 1 leaves the row-major order.
inline void block_order(BlockProblem& block, const Layout& layout) {
  const size_t dims = layout.sizes.size();
  block.across = block.depth = divisor(1);
  if (dims < 2 || block.event % 4 != 0 || layout.sizes[dims - 1] % 4 != 0) return;
  const auto& strides = layout.columns.back().strides;  // of an output
  if (strides[dims - 2] != 1 || strides[dims - 1] == 1) return;
  block.across = divisor(layout.sizes[dims - 2]);
  block.depth = divisor(layout.sizes[dims - 1] / 4);
}

inline BlockProblem block_problem(const Problem& problem, int64_t span) {
  BlockProblem block = {};
  const auto& sizes = problem.layout.sizes;
  const int64_t groups_a_sample = (problem.event + span - 1) / span;
  block.event = problem.event;
  block.groups = problem.batch * groups_a_sample;
  block.dims = static_cast<int>(sizes.size());
  block.inputs = problem.inputs;
  block.rows = problem.rows;
  block.draws = problem.draws;
  block.weights_per_sample = problem.weights_per_sample;
  block.weights = problem.weights;
  block.streams = problem.streams;
  block.draw_numbers = problem.draw_numbers;
  if (block.groups == 0) return block;
  block.groups_a_sample = divisor(groups_a_sample);
  for (int d = 0; d < block.dims; ++d) block.sizes[d] = divisor(sizes[block.dims - 1 - d]);
  for (size_t j = 0; j < problem.layout.columns.size(); ++j) {
    block.columns[j] = block_column(problem.layout.columns[j], sizes);
  }
  block_order(block, problem.layout);
  return block;
}

// Whether the flat kernel of a path may run: every tensor lies in row-major order at an address that its accesses of 16
// (four halves: 8) bytes allow, samples are whole groups, and no dtype is wider than the path.
inline bool fits(const Problem& problem, Path path) {
  const Layout& layout = problem.layout;
  if (problem.event % (path == Path::kHalves ? 8 : 4) != 0 || layout.sizes.size() > 1) return false;
  if (problem.wide != (path == Path::kWide)) return false;  // sums are float64 where an input is
  for (const Column& column : layout.columns) {
    const bool half = column.dtype == ScalarType::Half || column.dtype == ScalarType::BFloat16;
    const uintptr_t bytes = half && path != Path::kHalves ? 8 : 16;
    if (!column.flat || reinterpret_cast<uintptr_t>(column.data) % bytes != 0) return false;
    if (path == Path::kHalves && !half) return false;
    if (path == Path::kNarrow && column.dtype == ScalarType::Double) return false;
  }
  return true;
}

// Where an element lies: the steps of each kind before it.
struct Place {
  uint64_t steps[kMaxDims];
};

TORCHDIFF_INLINE Place place_of(const BlockProblem& problem, int64_t element) {
  Place place = {};
  TORCHDIFF_UNROLL
  for (int k = 0; k < kMaxDims; ++k) {
    if (k < problem.dims) {
      const int64_t outer = k + 1 < problem.dims ? quotient(element, problem.sizes[k]) : 0;
      place.steps[k] = static_cast<uint64_t>(element - outer);
      element = outer;
    }
  }
  return place;
}

TORCHDIFF_INLINE uint64_t offset_of(const BlockProblem& problem, const BlockColumn& column, const Place& place) {
  uint64_t offset = 0;
  TORCHDIFF_UNROLL
  for (int k = 0; k < kMaxDims; ++k) {
    if (k < problem.dims) offset += place.steps[k] * column.jumps[k];
  }
  return offset;
}

// The kind of the step that leads to an element: how many inner dimensions it ends.
TORCHDIFF_INLINE int step_to(const BlockProblem& problem, int64_t element) {
  int kind = 0;
  for (; kind + 1 < problem.dims; ++kind) {
    const int64_t outer = quotient(element, problem.sizes[kind]);
    if (outer * problem.sizes[kind].value != element) break;
    element = outer;
  }
  return kind;
}

// The noise block, counted over all samples, that thread `index` works on; blocks are whole where the order is not 1:1.
TORCHDIFF_INLINE int64_t block_of(const BlockProblem& problem, int64_t index) {
  if (problem.across.value == 1) return index;
  const int64_t row = quotient(index, problem.across);  // of all outer dimensions and the depth
  const int64_t channel = index - row * problem.across.value;
  const int64_t outer = quotient(row, problem.depth);
  return (outer * problem.across.value + channel) * problem.depth.value + (row - outer * problem.depth.value);
}

}  // namespace torchdiff
