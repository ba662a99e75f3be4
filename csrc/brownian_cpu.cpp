// brownian on the CPU: chunks of 64 noise blocks, each walked from time to time. Consecutive times share the levels
// down to where they part, which wait in a stack, so a grid of times costs about one walk and a few levels for each
// time.
#include <torch/csrc/stable/library.h>

#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "brownian_block.h"
#include "brownian_levels.h"
#include "columns_cpu.h"

namespace torchdiff {
namespace {

// How many levels down a walk ends: none at both ends of the path.
int depth_of(int32_t tick) { return tick == 0 || tick == kTicks ? 0 : kDepth - __builtin_ctz(tick); }

// How many levels the walks to two times have in common.
int shared(int32_t a, int32_t b) {
  const int both = std::min(depth_of(a), depth_of(b));
  return both == 0 || a == b ? both : std::min(both, __builtin_clz(static_cast<uint32_t>(a ^ b)) - (32 - kDepth));
}

// One thread's work: the stack of a chunk and the walks over it.
class Walker {
 public:
  Walker(const BrownianProblem& problem, const std::vector<int32_t>& ticks, ScalarType dtype, const Simd& simd,
         const Levels& levels)
      : problem_(problem),
        ticks_(ticks),
        dtype_(dtype),
        simd_(simd),
        levels_(levels),
        stack_(new Cells[kDepth + 4]),
        counters_() {}

  // Blocks [first, last) of all samples in a row, at most kWalkBlocks.
  void run(int64_t first, int64_t last) {
    blocks_ = static_cast<int>(last - first);
    padded_ = up_to_group(blocks_);
    for (int i = 0; i < blocks_; ++i) {
      const int64_t block = first + i;
      counters_.set(i, problem_.streams, block / problem_.blocks_per_sample, block % problem_.blocks_per_sample);
    }
    at_ = first / problem_.blocks_per_sample * problem_.event + first % problem_.blocks_per_sample * 4;
    root();
    Cells *before = &stack_[kDepth + 2], *point = &stack_[kDepth + 3];
    for (size_t k = 0; k < ticks_.size(); ++k, std::swap(before, point)) {
      walk(k, *point);
      if (k > 0) emit(k, *before, *point);
    }
  }

 private:
  void normals(uint64_t node, uint64_t which, std::vector<float>& out) {
    const uint64_t draw = node_draw(problem_.path, node, which);
    if (counters_.sample[0] == counters_.sample[blocks_ - 1] && counters_.seed[0] == counters_.seed[blocks_ - 1] &&
        counters_.block[blocks_ - 1] - counters_.block[0] + 1 == static_cast<uint32_t>(blocks_)) {
      return simd_.run32({counters_.seed[0], counters_.sample[0], counters_.block[0]}, draw, blocks_, out.data());
    }
    simd_.normals32(counters_, draw, padded_, out.data());
  }
  void normals(uint64_t node, uint64_t which, std::vector<double>& out) {
    simd_.normals64(counters_, node_draw(problem_.path, node, which), padded_, out.data());
  }

  void root() {
    Cells& cell = stack_[0];
    const auto scale = [&](double spread, const auto& normals, double* out) {
      for (int i = 0; i < 4 * padded_; ++i) out[i] = mul(spread, convert<double>(normals[i]));
    };
    if (dtype_ == ScalarType::Double) {
      normals(0, 0, z64_);
      normals(0, 1, n64_);
      scale(problem_.spread.root_w, z64_, cell.w);
      scale(problem_.spread.root_h, n64_, cell.h);
    } else {
      normals(0, 0, z32_);
      normals(0, 1, n32_);
      scale(problem_.spread.root_w, z32_, cell.w);
      scale(problem_.spread.root_h, n32_, cell.h);
    }
    std::fill_n(cell.start, kWalkElements, 0.0);
    std::fill_n(cell.area, kWalkElements, 0.0);
  }

  // The points at time k, from the level where its walk parts from that of time k - 1.
  void walk(size_t k, Cells& point) {
    const int32_t tick = ticks_[k];
    const int depth = depth_of(tick);
    const int known = k == 0 ? 0 : shared(ticks_[k - 1], tick);
    // levels that the next walk starts from stay in the stack; the others are written over in one place
    const int wanted = k + 1 == ticks_.size() ? 0 : shared(tick, ticks_[k + 1]);
    const Cells* from = &stack_[known];
    for (int level = known; level < depth; ++level) {
      const bool one = (tick >> (kDepth - 1 - level) & 1) != 0;
      const bool last = level + 1 == depth && wanted < depth;
      Cells& to = level + 1 <= wanted ? stack_[level + 1] : last ? point : stack_[kDepth + 1];
      const Level what = {last  ? Move::stop
                          : one ? Move::right
                                : Move::left,
                          problem_.integral, 1.0 / static_cast<double>(int64_t{2} << level), problem_.spread.z[level],
                          problem_.spread.n[level]};
      step(what, (uint64_t{1} << level) + (static_cast<uint32_t>(tick) >> (kDepth - level)), *from, to);
      from = &to;
    }
    if (from == &point) return;
    for (int i = 0; i < 4 * padded_; ++i) {
      const Point end =
          tick == kTicks ? beyond({0.0, 0.0}, {from->w[i], from->h[i]}, 1.0) : Point{from->start[i], from->area[i]};
      point.start[i] = end.w;
      point.area[i] = end.area;
    }
  }

  void step(const Level& what, uint64_t node, const Cells& from, Cells& to) {
    const bool whole = what.move != Move::stop || what.integral;
    if (dtype_ == ScalarType::Double) {
      normals(node, 0, z64_);
      if (whole) normals(node, 1, n64_);
      levels_.step64(what, z64_.data(), n64_.data(), 4 * padded_, from, to);
    } else {
      normals(node, 0, z32_);
      if (whole) normals(node, 1, n32_);
      levels_.step32(what, z32_.data(), n32_.data(), 4 * padded_, from, to);
    }
  }

  void emit(size_t k, const Cells& before, const Cells& point) {
    const double length = (ticks_[k] - ticks_[k - 1]) * (1.0 / kTicks);
    const int64_t offset = static_cast<int64_t>(k - 1) * problem_.batch * problem_.event + at_;
    levels_.between(before, point, problem_.integral, length, problem_.horizon, 4 * padded_, w_, area_);
    with_type(dtype_, [&](auto zero) {
      using T = decltype(zero);
      put(w_, static_cast<T*>(problem_.increments) + offset);
      if (problem_.integral) put(area_, static_cast<T*>(problem_.integrals) + offset);
    });
  }

  // Drops the lanes beyond the end of a sample whose size is no multiple of four.
  template <typename T>
  void put(const double* values, T* out) const {
    if (problem_.event % 4 == 0) {
      for (int i = 0; i < 4 * blocks_; ++i) out[i] = convert<T>(values[i]);
      return;
    }
    for (int i = 0; i < blocks_; ++i) {
      const int64_t left = problem_.event - int64_t{4} * counters_.block[i];
      for (int lane = 0; lane < 4 && lane < left; ++lane) *out++ = convert<T>(values[4 * i + lane]);
    }
  }

  const BrownianProblem& problem_;
  const std::vector<int32_t>& ticks_;
  const ScalarType dtype_;
  const Simd& simd_;
  const Levels& levels_;
  std::unique_ptr<Cells[]> stack_;  // the root and the levels below it, then one to write over and two points
  std::vector<float> z32_ = std::vector<float>(kWalkElements), n32_ = std::vector<float>(kWalkElements);
  std::vector<double> z64_ = std::vector<double>(kWalkElements), n64_ = std::vector<double>(kWalkElements);
  double w_[kWalkElements], area_[kWalkElements];
  Counters counters_;
  int blocks_ = 0, padded_ = 0;
  int64_t at_ = 0;
};

struct Call {
  std::vector<int32_t> ticks;
  std::vector<Tensor> outputs;
  Tensor seeds;
  BrownianProblem problem;
};

Call call(const std::vector<int64_t>& shape, const Tensor& seeds, int64_t first_index, int64_t path,
          const Tensor& times, double horizon, bool integral, ScalarType dtype) {
  check_brownian(shape, seeds, first_index, path, times, horizon, dtype);
  Call call{ticks_of(times, horizon), brownian_outputs(shape, seeds, times, integral, dtype), dense(seeds), {}};
  call.problem = brownian_problem(shape, call.seeds, first_index, path, horizon, integral);
  call.problem = part_of(call.problem, call.ticks, 0, std::min<size_t>(kTimes, call.ticks.size()), call.outputs);
  return call;
}

// Chunks do not depend on the number of threads, and no element on its chunk: any split gives the same bits.
void run(const Call& call, ScalarType dtype, const Simd& simd, const Levels& levels) {
  if (call.outputs[0].numel() == 0) return;
  const int64_t blocks = call.problem.batch * call.problem.blocks_per_sample;
  torch::stable::parallel_for(0, (blocks + kWalkBlocks - 1) / kWalkBlocks, 1, [&](int64_t first, int64_t last) {
    Walker walker(call.problem, call.ticks, dtype, simd, levels);
    for (int64_t c = first; c < last; ++c) walker.run(c * kWalkBlocks, std::min(blocks, (c + 1) * kWalkBlocks));
  });
}

std::vector<Tensor> brownian(std::vector<int64_t> shape, Tensor seeds, int64_t first_index, int64_t path, Tensor times,
                             double horizon, bool integral, ScalarType dtype) {
  const Call mine = call(shape, seeds, first_index, path, times, horizon, integral, dtype);
  run(mine, dtype, best(), best_levels());
  return mine.outputs;
}

// The same by the loops of one level of instructions, for the tests.
std::vector<Tensor> brownian_by(std::string level, std::vector<int64_t> shape, Tensor seeds, int64_t first_index,
                                int64_t path, Tensor times, double horizon, bool integral, ScalarType dtype) {
  const Call mine = call(shape, seeds, first_index, path, times, horizon, integral, dtype);
  if (level == "avx512" && avx512() != nullptr && avx512_levels() != nullptr) {
    run(mine, dtype, *avx512(), *avx512_levels());
  } else if (level == "avx2" && avx2() != nullptr) {
    run(mine, dtype, *avx2(), *avx2_levels());
  } else {
    STD_TORCH_CHECK(level == "portable", "_brownian_by: ", level, " is not a simd level that this machine runs");
    run(mine, dtype, portable(), portable_levels());
  }
  return mine.outputs;
}

}  // namespace
}  // namespace torchdiff

STABLE_TORCH_LIBRARY_FRAGMENT(torchdiff, m) {
  m.def(
      "_brownian_by(str level, SymInt[] shape, Tensor seeds, int first_index, int path, Tensor times, float horizon, "
      "bool integral, ScalarType dtype) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(torchdiff, CPU, m) {
  m.impl("brownian", TORCH_BOX(&torchdiff::brownian));
  m.impl("_brownian_by", TORCH_BOX(&torchdiff::brownian_by));
}
