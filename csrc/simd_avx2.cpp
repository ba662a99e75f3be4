// The inner loops for AVX2 with fma.
#include "simd_cpu.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#include <cstring>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#include "loops_cpu.h"
#include "pack_avx2.h"

namespace torchdiff {
namespace {

void normals32(const Counters& counters, uint64_t draw, int blocks, float* out) {
  normals_loop<Avx2>(counters, draw, blocks, out);
}
void normals64(const Counters& counters, uint64_t draw, int blocks, double* out) {
  plain_normals(counters, draw, blocks, out);
}
void run32(const Run& run, uint64_t draw, int blocks, float* out) { run_loop<Avx2>(run, draw, blocks, out); }
void maps32(const uint32_t* words, int count, float* radius, float* first, float* second) {
  maps_loop<Avx2>(words, count, radius, first, second);
}
bool step32(const Step& step, int draws) { return step_by_draws<Avx2>(step, draws); }
bool sum32(const Row<float, Weight>& row, int count, float* out) { return sum_loop<Avx2>(row, count, out); }
bool sum64(const Row<double, double>& row, int count, double* out) { return plain_sum(row, count, out); }
void squares32(const float* values, int blocks, double* lanes) { squares_loop<Avx2>(values, blocks, lanes); }
void squares64(const double* values, int blocks, double* lanes) { squares_loop<Avx2>(values, blocks, lanes); }

constexpr Simd kLoops = {"avx2", normals32, normals64, run32, maps32, step32, sum32, sum64, squares32, squares64};

}  // namespace
}  // namespace torchdiff

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

namespace torchdiff {

const Simd* avx2() {
#if defined(__x86_64__) && defined(__GNUC__)
  static const bool supported = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return supported ? &kLoops : nullptr;
#else
  return nullptr;
#endif
}

}  // namespace torchdiff
