// The inner loops of the CPU kernels, compiled for any CPU, for AVX2 with fma and for AVX-512; chosen at run time. All
// give the same bits: fma is rounded once in each, and no operation is reordered.
#pragma once

#include <cstdint>

#include "streams.h"
#include "weight.h"

namespace torchdiff {

constexpr int kBlocks = 256;  // noise blocks of one chunk: 4 KiB of float32 a column, many of which fit the L2 cache
constexpr int kElements = 4 * kBlocks;  // elements of one chunk
constexpr int kGroup = 16;  // blocks that a loop makes at once, at most: it may write so many beyond the last

inline int up_to_group(int blocks) { return (blocks + kGroup - 1) / kGroup * kGroup; }

// The counters of blocks that may belong to many samples.
struct Counters {
  uint64_t seed[kBlocks];
  uint64_t sample[kBlocks];
  uint32_t block[kBlocks];

  void set(int i, const Streams& streams, int64_t in_sample, int64_t in_block) {
    seed[i] = streams.seed(in_sample);
    sample[i] = streams.number(in_sample);
    block[i] = static_cast<uint32_t>(in_block);
  }
};

// The counters of blocks that follow one another in one sample.
struct Run {
  uint64_t seed, sample;
  uint32_t block;
};

inline Run run_of(const Streams& streams, int64_t sample, int64_t block) {
  return {streams.seed(sample), streams.number(sample), static_cast<uint32_t>(block)};
}

// The column pointers and weights of a row; column 0 is the state.
template <typename T, typename W>
struct Row {
  const T* const* columns;
  const W* weights;
  int count;
};

// Rows over elements of one sample with noise: columns, then draws. `count` is a multiple of 4 * kGroup.
struct Step {
  Run run;  // of the first element
  const uint64_t* draws;
  const float* const* columns;
  int inputs, rows;
  const Weight* weights;  // (rows, inputs + draws)
  float* const* out;
  int count;
  bool* finite;  // set to false where row 0 has a value that is not
};

struct Simd {
  const char* name;
  // The 4 * blocks normals of one draw. `blocks` is rounded up to whole groups, whose counters and outputs must be
  // there.
  void (*normals32)(const Counters& counters, uint64_t draw, int blocks, float* out);
  void (*normals64)(const Counters& counters, uint64_t draw, int blocks, double* out);
  void (*run32)(const Run& run, uint64_t draw, int blocks, float* out);
  // The maps behind them, word by word; `count` is a multiple of kGroup. For the tests.
  void (*maps32)(const uint32_t* words, int count, float* radius, float* first, float* second);
  // All rows at once, noise and all; false where this level has no loop for so many draws.
  bool (*step32)(const Step& step, int draws);
  // out[i] = the row sum of columns[c][i], 0 <= i < count; whether all of it is finite.
  bool (*sum32)(const Row<float, Weight>& row, int count, float* out);
  bool (*sum64)(const Row<double, double>& row, int count, double* out);
  // lanes[b] += the sum of squares of block b, 0 <= b < blocks; see norms.h.
  void (*squares32)(const float* values, int blocks, double* lanes);
  void (*squares64)(const double* values, int blocks, double* lanes);
};

const Simd& portable();
const Simd* avx2();    // null where the compiler or this machine has none
const Simd* avx512();  // the same
const Simd& best();    // or the level that TORCHDIFF_SIMD names in the environment

}  // namespace torchdiff
