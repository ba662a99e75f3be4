#include "simd_cpu.h"

#include "affine.h"
#include "normal.h"

namespace torchdiff {
namespace {

// Each stage is a loop of its own over small arrays: gcc vectorises them so, and not a loop that does all of it.
template <typename T>
TORCHDIFF_INLINE void fill_normals(const Counters& counters, uint64_t draw, int blocks, T* out) {
  uint32_t first[2 * kBlocks], second[2 * kBlocks];  // radius words and angle words, pair 0 of every block, then pair 1
  uint32_t low[kBlocks], high[kBlocks], key_low[kBlocks], key_high[kBlocks];
  T length[2 * kBlocks], cos[2 * kBlocks], sin[2 * kBlocks];
  for (int i = 0; i < blocks; ++i) {
    const uint64_t key = draw_key(counters.seed[i], draw);
    key_low[i] = static_cast<uint32_t>(key);
    key_high[i] = static_cast<uint32_t>(key >> 32);
    low[i] = static_cast<uint32_t>(counters.sample[i]);
    high[i] = static_cast<uint32_t>(counters.sample[i] >> 32);
  }
  for (int i = 0; i < blocks; ++i) {
    const Words counter = {{counters.block[i], static_cast<uint32_t>(draw), low[i], high[i]}};
    const Words words = philox(counter, key_low[i], key_high[i]);
    first[i] = words.at[0];
    second[i] = words.at[1];
    first[blocks + i] = words.at[2];
    second[blocks + i] = words.at[3];
  }
  for (int i = 0; i < 2 * blocks; ++i) length[i] = radius<T>(first[i]);
  for (int i = 0; i < 2 * blocks; ++i) {
    const CosSin<T> direction = angle<T>(second[i]);
    cos[i] = mul(length[i], direction.cos);
    sin[i] = mul(length[i], direction.sin);
  }
  for (int i = 0; i < blocks; ++i) {
    out[4 * i] = cos[i];
    out[4 * i + 1] = sin[i];
    out[4 * i + 2] = cos[blocks + i];
    out[4 * i + 3] = sin[blocks + i];
  }
}

TORCHDIFF_INLINE void sum_columns(const double* weights, const double* values, int columns, int count, double* out) {
  for (int i = 0; i < count; i += 8) {
    double sum[8];
    for (int k = 0; k < 8; ++k) sum[k] = mul(weights[0], values[i + k]);
    for (int c = 1; c < columns; ++c) {
      for (int k = 0; k < 8; ++k) sum[k] = accumulate(sum[k], weights[c], values[c * kElements + i + k]);
    }
    for (int k = 0; k < 8; ++k) out[i + k] = sum[k];
  }
}

// A function with the attribute may use AVX2 and fma whatever the flags of the file, so nothing else in the library
// does: a machine without them never meets such an instruction, not even in an inline function of the standard library.
#define TORCHDIFF_LOOPS(level, attribute)                                                                            \
  attribute void normals32_##level(const Counters& counters, uint64_t draw, int blocks, float* out) {                \
    fill_normals<float>(counters, draw, blocks, out);                                                                \
  }                                                                                                                  \
  attribute void normals64_##level(const Counters& counters, uint64_t draw, int blocks, double* out) {               \
    fill_normals<double>(counters, draw, blocks, out);                                                               \
  }                                                                                                                  \
  attribute void row_sum_##level(const double* weights, const double* values, int columns, int count, double* out) { \
    sum_columns(weights, values, columns, count, out);                                                               \
  }                                                                                                                  \
  constexpr Simd level##_loops = {#level, normals32_##level, normals64_##level, row_sum_##level};

TORCHDIFF_LOOPS(portable, )
#if defined(__x86_64__)
TORCHDIFF_LOOPS(avx2, __attribute__((target("avx2,fma"))))
#endif

}  // namespace

const Simd& portable() { return portable_loops; }

const Simd* avx2() {
#if defined(__x86_64__)
  static const bool supported = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return supported ? &avx2_loops : nullptr;
#else
  return nullptr;
#endif
}

const Simd& best() { return avx2() != nullptr ? *avx2() : portable(); }

}  // namespace torchdiff
