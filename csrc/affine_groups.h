// What one CUDA thread does for affine: the row sums of one group of neighbouring elements, start to end.
#pragma once

#include "affine.h"
#include "blocks.h"
#include "normal.h"
#include "vectors.h"

namespace torchdiff {

// Inputs beside the state of which a thread has loads in flight at once: with it 16 registers, 8 for eight halves.
template <Path kPath>
constexpr int kAhead = kPath == Path::kNarrow ? 3 : 1;

// One row sum of one element: two float32 parts, or one float64 (affine.h).
template <typename T>
using SumOf = std::conditional_t<std::is_same_v<T, float>, Sum<One>, double>;
template <typename T>
using WeightOf = std::conditional_t<std::is_same_v<T, float>, Weight, double>;

template <typename T>
TORCHDIFF_INLINE WeightOf<T> weight_of(double weight) {
  if constexpr (std::is_same_v<T, float>) return split(weight);
  if constexpr (std::is_same_v<T, double>) return weight;
}

// kRows row sums of kCount elements, all columns but the state's; rows past `rows` are left alone.
template <typename T, int kRows, int kCount>
struct Sums {
  SumOf<T> at[kRows][kCount] = {};

  // `weights` is the column's in the first row.
  TORCHDIFF_INLINE void add_column(const double* weights, int64_t columns, int rows, const T* value) {
    TORCHDIFF_UNROLL
    for (int r = 0; r < kRows; ++r) {
      if (r > 0 && r >= rows) continue;
      const WeightOf<T> weight = weight_of<T>(weights[r * columns]);
      TORCHDIFF_UNROLL
      for (int i = 0; i < kCount; ++i) {
        if constexpr (std::is_same_v<T, float>) accumulate<One>(at[r][i], weight, value[i]);
        if constexpr (std::is_same_v<T, double>) at[r][i] = accumulate(at[r][i], weight, value[i]);
      }
    }
  }

  // Row r with the state's column; without weights, which is `normal`, the state is the noise and its weight 1.
  TORCHDIFF_INLINE void add_state(const double* weights, int64_t columns, int r, const T* state, T* result) const {
    const WeightOf<T> weight = weight_of<T>(weights == nullptr ? 1.0 : weights[r * columns]);
    TORCHDIFF_UNROLL
    for (int i = 0; i < kCount; ++i) {
      if constexpr (std::is_same_v<T, float>) result[i] = finish<One>(at[r][i], weight, state[i]);
      if constexpr (std::is_same_v<T, double>) result[i] = accumulate(at[r][i], weight, state[i]);
    }
  }
};

// What a thread needs of its sample.
struct Sample {
  const double* weights;  // of the first row that the thread sums
  uint64_t seed, number;
};

TORCHDIFF_INLINE Sample sample_of(const BlockProblem& problem, int64_t sample, int first_row, bool noise) {
  const int64_t row = (problem.weights_per_sample ? sample * problem.rows : 0) + first_row;
  Sample result = {problem.weights, 0, 0};
  if (problem.weights != nullptr) result.weights += row * (problem.inputs + problem.draws);
  if (noise) {
    result.seed = problem.streams.seed(sample);
    result.number = problem.streams.number(sample);
  }
  return result;
}

template <typename T>
TORCHDIFF_INLINE void make_noise(const BlockProblem& problem, const Sample& sample, int q, int64_t block, T* z) {
  const uint64_t draw = static_cast<uint64_t>(problem.draw_numbers[q]);
  box_muller(block_words(sample.seed, draw, sample.number, static_cast<uint32_t>(block)), z);
}

// Loads inputs `last`, last - 1, ... of those beside the state.
template <Path kPath>
TORCHDIFF_INLINE void fetch_inputs(const BlockProblem& problem, int64_t begin, int last, Pack<kPath>* packs) {
  TORCHDIFF_UNROLL
  for (int k = 0; k < kAhead<kPath>; ++k) {
    if (last - k >= 1) {
      packs[k] = fetch<kPath>(problem.columns[last - k].data, problem.columns[last - k].dtype, begin);
    }
  }
}

// Rows first_row to first_row + kRows - 1 of one group. More rows than kRows make their noise again, in another thread,
// which is cheaper than the registers to keep it. Columns are added from the last to the first, so the noise is made
// while the inputs are on their way; all of a thread's elements lie together in each tensor.
template <Path kPath, bool kNoise, int kRows>
TORCHDIFF_INLINE void flat_group(const BlockProblem& problem, int64_t group, int first_row) {
  constexpr int kCount = kSpan<kPath>;
  const int rows = problem.rows - first_row, columns = problem.inputs + problem.draws, last = problem.inputs - 1;
  const int64_t begin = group * kCount;  // samples are whole groups, so no gaps between them
  Pack<kPath> state, packs[kAhead<kPath>];
  if (problem.inputs > 0) state = fetch<kPath>(problem.columns[0].data, problem.columns[0].dtype, begin);
  fetch_inputs<kPath>(problem, begin, last, packs);
  const int64_t number = quotient(group, problem.groups_a_sample);
  const Sample sample = sample_of(problem, number, first_row, kNoise);
  const int64_t block = (group - number * problem.groups_a_sample.value) * (kCount / 4);
  Sums<Value<kPath>, kRows, kCount> sums;
  Value<kPath> value[kCount];
  if (kNoise) {
    for (int q = problem.draws - 1; q >= 0; --q) {
      TORCHDIFF_UNROLL
      for (int b = 0; b < kCount / 4; ++b) make_noise(problem, sample, q, block + b, value + 4 * b);
      if (problem.inputs > 0) sums.add_column(sample.weights + problem.inputs + q, columns, rows, value);
    }
  }
  for (int c = last; c >= 1; c -= kAhead<kPath>) {
    if (c < last) fetch_inputs<kPath>(problem, begin, c, packs);
    TORCHDIFF_UNROLL
    for (int k = 0; k < kAhead<kPath>; ++k) {
      if (c - k >= 1) {
        unpack<kPath>(packs[k], problem.columns[c - k].dtype, value);
        sums.add_column(sample.weights + c - k, columns, rows, value);
      }
    }
  }
  if (problem.inputs > 0) unpack<kPath>(state, problem.columns[0].dtype, value);
  TORCHDIFF_UNROLL
  for (int r = 0; r < kRows; ++r) {
    if (r > 0 && r >= rows) continue;
    const BlockColumn& output = problem.columns[problem.inputs + first_row + r];
    Value<kPath> result[kCount];
    sums.add_state(sample.weights, columns, r, value, result);
    put<kPath>(output.data, output.dtype, begin, result);
  }
}

// The same where elements lie anywhere, samples end inside a block, or addresses are not aligned: element by element.
template <typename T, bool kNoise, int kRows>
TORCHDIFF_INLINE void scattered_group(const BlockProblem& problem, int64_t group, int first_row) {
  const int rows = problem.rows - first_row, columns = problem.inputs + problem.draws;
  group = block_of(problem, group);
  const int64_t number = quotient(group, problem.groups_a_sample);
  const int64_t block = group - number * problem.groups_a_sample.value;
  const int64_t begin = number * problem.event + 4 * block, left = problem.event - 4 * block;
  const Sample sample = sample_of(problem, number, first_row, kNoise);
  const Place place = place_of(problem, begin);
  int step[4] = {};
  TORCHDIFF_UNROLL
  for (int i = 1; i < 4; ++i) step[i] = i < left ? step_to(problem, begin + i) : 0;
  Sums<T, kRows, 4> sums;
  T value[4];
  for (int q = problem.draws - 1; kNoise && q >= 0; --q) {
    make_noise(problem, sample, q, block, value);
    if (problem.inputs > 0) sums.add_column(sample.weights + problem.inputs + q, columns, rows, value);
  }
  for (int c = problem.inputs - 1; c >= 0; --c) {
    const BlockColumn& input = problem.columns[c];
    uint64_t offset = offset_of(problem, input, place);
    TORCHDIFF_UNROLL
    for (int i = 0; i < 4; ++i) {
      if (i > 0) offset += input.jumps[step[i]];
      value[i] = i < left ? fetch_one<T>(input.data, input.dtype, offset) : T(0);
    }
    if (c > 0) sums.add_column(sample.weights + c, columns, rows, value);
  }
  TORCHDIFF_UNROLL
  for (int r = 0; r < kRows; ++r) {
    if (r > 0 && r >= rows) continue;
    const BlockColumn& output = problem.columns[problem.inputs + first_row + r];
    T result[4];
    sums.add_state(sample.weights, columns, r, value, result);
    uint64_t offset = offset_of(problem, output, place);
    TORCHDIFF_UNROLL
    for (int i = 0; i < 4; ++i) {
      if (i > 0) offset += output.jumps[step[i]];
      if (i < left) put_one(output.data, output.dtype, offset, result[i]);
    }
  }
}

}  // namespace torchdiff
