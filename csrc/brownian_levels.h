// The inner loops of brownian on the CPU: one level of the tree, or one difference of points, for a chunk of elements.
// Compiled once for any CPU and once each for AVX2 and AVX-512, with the same bits.
#pragma once

#include "brownian.h"
#include "simd_cpu.h"

namespace torchdiff {

constexpr int kWalkBlocks = 64;  // of a chunk: a walk keeps up to 28 levels of it, 8 KiB each, in the L2 cache
constexpr int kWalkElements = 4 * kWalkBlocks;

// Where the walk of a chunk stands: the cell that it is in, and the point at the start of that cell.
struct Cells {
  double start[kWalkElements], area[kWalkElements], w[kWalkElements], h[kWalkElements];
};

// left: into the first half. right: into the second. stop: to the middle, where the walk ends, without a new cell.
enum class Move { left, right, stop };

// One level: what it does and the numbers that it needs. `n` is null where Z alone decides: stop without integrals.
struct Level {
  Move move;
  bool integral;
  double length, spread_z, spread_n;  // length of the halves, in units of the horizon
};

struct Levels {
  const char* name;
  // `to` may be `from`; count is a multiple of 8.
  void (*step32)(const Level& level, const float* z, const float* n, int count, const Cells& from, Cells& to);
  void (*step64)(const Level& level, const double* z, const double* n, int count, const Cells& from, Cells& to);
  // w[i] = W(t) - W(s), area[i] = the integral of W - W(s) over [s, t]; only the first without `integral`.
  void (*between)(const Cells& s, const Cells& t, bool integral, double length, double horizon, int count, double* w,
                  double* area);
};

const Levels& portable_levels();
const Levels* avx2_levels();    // null where the compiler or this machine has none
const Levels* avx512_levels();  // the same
const Levels& best_levels();

}  // namespace torchdiff
