// A Brownian path on the dyadic tree of [0, horizon], evaluated at one time by walking down from the root.
//
// A cell of length h has the increment w ~ N(0, h) and the space-time Levy area H ~ N(0, h / 12), independent: the
// integral of W - W(start) over it is h (w / 2 + H). Its halves are, with Z ~ N(0, h / 16) and N ~ N(0, h / 48),
//
//   w / 2 +- (3 H / 2 + Z),   H / 4 - Z / 2 +- N          (upper signs: first half)
//
// whose means, variances and covariances are those of the halves of a Brownian motion (Foster, Lyons & Oberhauser 2020,
// arXiv:1904.06998; a test checks them). torchdiff/ops/paths.py says the same in plain torch.
#pragma once

#include <cmath>
#include <cstdint>

#include "normal.h"

namespace torchdiff {

constexpr int kDepth = 24;
constexpr int64_t kTicks = int64_t{1} << kDepth;  // times are multiples of horizon / kTicks
constexpr int64_t kPaths = 4096;                  // path numbers: the low 12 bits of a draw number

// The draw number of a node's normals, in the fields of torchdiff/counters.py: purpose BROWNIAN, the path in the low 12
// bits, 2 * node + which in the step. Node 0 gives w and H of the root, node 2^level + index splits that cell by Z and
// N.
TORCHDIFF_INLINE uint64_t node_draw(uint64_t path, uint64_t node, uint64_t which) {
  return path | uint64_t{2} << 12 | (2 * node + which) << 15;
}

// Standard deviations of the normals.
struct Spread {
  double root_w, root_h, z[kDepth], n[kDepth];
};

inline Spread spread_of(double horizon) {
  Spread spread = {std::sqrt(horizon), std::sqrt(horizon / 12.0), {}, {}};
  double length = horizon;
  for (int level = 0; level < kDepth; ++level, length *= 0.5) {
    spread.z[level] = std::sqrt(length / 16.0);
    spread.n[level] = std::sqrt(length / 48.0);
  }
  return spread;
}

struct Cell {
  double w, h;
};

TORCHDIFF_INLINE Cell first_half(double w, double h, double z, double n) {
  return {add(mul(0.5, w), add(mul(1.5, h), z)), add(sub(mul(0.25, h), mul(0.5, z)), n)};
}

TORCHDIFF_INLINE Cell second_half(double w, double h, double z, double n) {
  return {sub(mul(0.5, w), add(mul(1.5, h), z)), sub(sub(mul(0.25, h), mul(0.5, z)), n)};
}

// W at a time, and its integral from 0 to there divided by the horizon.
struct Point {
  double w, area;
};

// The point at the end of a cell from the one at its start; `length` is the cell's in units of the horizon.
TORCHDIFF_INLINE Point beyond(Point start, Cell cell, double length) {
  return {add(start.w, cell.w), add(start.area, mul(length, add(start.w, add(mul(0.5, cell.w), cell.h))))};
}

// The integral of W - W(s) over [s, t], by the horizon: area(t) - area(s) - length W(s). All three nearly cancel over
// short intervals, so the difference is carried with its error (Knuth) and the product is split into two exact ones
// (Veltkamp): length is a multiple of 2^-24 with at most 24 bits, half of W(s) has 26.
TORCHDIFF_INLINE double area_between(Point s, Point t, double length) {
  const double difference = sub(t.area, s.area);
  const double taken = sub(t.area, difference);
  const double error = add(sub(taken, s.area), sub(t.area, add(difference, taken)));
  const double scaled = mul(s.w, 134217729.0);
  const double high = sub(scaled, sub(scaled, s.w));
  const double low = sub(s.w, high);
  return add(sub(difference, mul(length, high)), sub(error, mul(length, low)));
}

}  // namespace torchdiff
