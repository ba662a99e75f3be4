// The inner loops for any CPU, and the choice among the levels.
#include "simd_cpu.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "loops_cpu.h"

namespace torchdiff {
namespace {

void normals32(const Counters& counters, uint64_t draw, int blocks, float* out) {
  plain_normals(counters, draw, blocks, out);
}
void normals64(const Counters& counters, uint64_t draw, int blocks, double* out) {
  plain_normals(counters, draw, blocks, out);
}
void run32(const Run& run, uint64_t draw, int blocks, float* out) {
  for (int i = 0; i < blocks; ++i) {
    box_muller<float>(block_words(run.seed, draw, run.sample, run.block + static_cast<uint32_t>(i)), out + 4 * i);
  }
}
void maps32(const uint32_t* words, int count, float* radius, float* first, float* second) {
  for (int i = 0; i < count; ++i) {
    radius[i] = radius32<One>(words[i]);
    direction32<One>(0, words[i], first[i], second[i]);
  }
}
bool step32(const Step&, int) { return false; }
bool sum32(const Row<float, Weight>& row, int count, float* out) {
  for (int i = 0; i < count; ++i) {
    Sum<One> sum = {0.0f, 0.0f};
    for (int c = row.count - 1; c > 0; --c) accumulate(sum, row.weights[c], row.columns[c][i]);
    out[i] = finish(sum, row.weights[0], row.columns[0][i]);
  }
  return all_finite(out, count);
}
bool sum64(const Row<double, double>& row, int count, double* out) { return plain_sum(row, count, out); }
void squares32(const float* values, int blocks, double* lanes) { plain_squares(values, blocks, lanes); }
void squares64(const double* values, int blocks, double* lanes) { plain_squares(values, blocks, lanes); }

constexpr Simd kLoops = {"portable", normals32, normals64, run32, maps32, step32, sum32, sum64, squares32, squares64};

}  // namespace

const Simd& portable() { return kLoops; }

namespace {

const Simd& chosen() {
  const Simd* const levels[] = {avx512(), avx2(), &portable()};
  const char* wanted = std::getenv("TORCHDIFF_SIMD");
  for (const Simd* level : levels) {
    if (level != nullptr && (wanted == nullptr || *wanted == '\0' || std::string(wanted) == level->name)) return *level;
  }
  throw std::invalid_argument("TORCHDIFF_SIMD is '" + std::string(wanted) +
                              "'; expected a level that this machine runs: avx512, avx2 or portable");
}

}  // namespace

const Simd& best() {
  static const Simd& found = chosen();
  return found;
}

}  // namespace torchdiff
