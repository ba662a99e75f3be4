// The three inner loops of the CPU kernels, compiled once for any x86-64 (or other) CPU and once for AVX2 with fma.
// Both give the same bits: fma is rounded once in either, and no operation is reordered.
#pragma once

#include <cstdint>

namespace torchdiff {

constexpr int kBlocks = 64;             // blocks of one chunk: with 4 columns, its 8 KiB a column stay in the L1 cache
constexpr int kElements = 4 * kBlocks;  // elements of one chunk

// The counters of a chunk's blocks, which may belong to many samples.
struct Counters {
  uint64_t seed[kBlocks];
  uint64_t sample[kBlocks];
  uint32_t block[kBlocks];
};

struct Simd {
  const char* name;
  // The 4 * blocks normals of one draw; `blocks` is a multiple of 8, and counters beyond the real ones are padding.
  void (*normals32)(const Counters& counters, uint64_t draw, int blocks, float* out);
  void (*normals64)(const Counters& counters, uint64_t draw, int blocks, double* out);
  // out[i] = sum_c weights[c] * values[c * kElements + i]; `count` is a multiple of 8.
  void (*row_sum)(const double* weights, const double* values, int columns, int count, double* out);
};

const Simd& portable();
const Simd* avx2();  // null where the compiler or this machine has none
const Simd& best();

}  // namespace torchdiff
