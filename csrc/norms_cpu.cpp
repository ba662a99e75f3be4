// norms on the CPU: each range of lanes of each column of a sample by itself, or several samples at once if they are
// short.
#include "norms.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "columns_cpu.h"
#include "problem.h"
#include "simd_cpu.h"

namespace torchdiff {
namespace {

static_assert(kRange == kBlocks, "the lanes of a range are the blocks of a chunk");

// The lanes of one column, in values of T, float or double.
template <typename T>
class Worker {
 public:
  static constexpr bool kSingle = std::is_same_v<T, float>;

  Worker(const Problem& problem, const Simd& simd)
      : problem_(problem), simd_(simd), blocks_per_sample_((problem.event + 3) / 4) {}

  // The sum of squares of one range of lanes of a sample's column.
  double range(int64_t sample, int column, int range) {
    std::fill(lanes_, lanes_ + kRange, 0.0);
    for (int64_t block = range * kRange; block < blocks_per_sample_; block += kSumLanes) {
      const int blocks = static_cast<int>(std::min<int64_t>(kRange, blocks_per_sample_ - block));
      const int64_t count = std::min<int64_t>(4 * blocks, problem_.event - 4 * block);
      add(values(column, sample, 1, block, blocks), count, lanes_);
    }
    return folded(lanes_, kRange);
  }

  // The norms of one column of `samples` whole samples, no more blocks than a chunk together; out: `step` apart.
  void samples(int column, int64_t first, int samples, double* out, int64_t step) {
    const int blocks = static_cast<int>(blocks_per_sample_);
    const T* data = values(column, first, samples, 0, blocks);
    std::fill(lanes_, lanes_ + samples * blocks, 0.0);
    if (problem_.event % 4 == 0) {  // no gaps between samples
      add(data, samples * problem_.event, lanes_);
    } else {
      const int64_t stride = column < problem_.inputs ? problem_.event : 4 * blocks;
      for (int s = 0; s < samples; ++s) add(data + s * stride, problem_.event, lanes_ + s * blocks);
    }
    for (int s = 0; s < samples; ++s) out[s * step] = square_root(folded(lanes_ + s * blocks, blocks));
  }

 private:
  // `blocks` blocks of each of some samples: of a tensor `event` apart, of a draw 4 * blocks.
  const T* values(int column, int64_t sample, int samples, int64_t block, int blocks) {
    if (column < problem_.inputs) {
      const int64_t begin = sample * problem_.event + 4 * block;
      const int64_t count =
          samples == 1 ? std::min<int64_t>(4 * blocks, problem_.event - 4 * block) : samples * problem_.event;
      const T* data = in_place<T>(problem_.layout.columns[column], begin);
      if (data != nullptr) return data;
      load(problem_.layout.columns[column], problem_.layout.sizes, begin, static_cast<int>(count), buffer_);
      return buffer_;
    }
    const uint64_t draw = static_cast<uint64_t>(problem_.draw_numbers[column - problem_.inputs]);
    if constexpr (kSingle) {
      // below two groups a sample, padding each to whole groups costs more than counters for each block by itself
      if (samples == 1 || blocks >= 2 * kGroup) {
        for (int s = 0; s < samples; ++s) {
          simd_.run32(run_of(problem_.streams, sample + s, block), draw, blocks, buffer_ + 4 * blocks * s);
        }
        return buffer_;
      }
    }
    int count = 0;
    for (int s = 0; s < samples; ++s) {
      for (int b = 0; b < blocks; ++b) counters_.set(count++, problem_.streams, sample + s, block + b);
    }
    const int padded = up_to_group(count);
    while (count < padded) counters_.set(count++, problem_.streams, sample, block);
    if constexpr (kSingle) {
      simd_.normals32(counters_, draw, padded, buffer_);
    } else {
      simd_.normals64(counters_, draw, padded, buffer_);
    }
    return buffer_;
  }

  // The blocks of `count` elements, one to each lane; the last one may end early.
  void add(const T* values, int64_t count, double* lanes) {
    const int whole = static_cast<int>(count / 4), rest = static_cast<int>(count % 4);
    if constexpr (kSingle) {
      if (whole > 0) simd_.squares32(values, whole, lanes);
    } else {
      if (whole > 0) simd_.squares64(values, whole, lanes);
    }
    if (rest == 0) return;
    const T* last = values + 4 * whole;
    const T second = rest > 1 ? last[1] : T{0}, third = rest > 2 ? last[2] : T{0};
    lanes[whole] = torchdiff::add(lanes[whole], sum_of_squares(last[0], second, third, T{0}));
  }

  // By halves of the next power of two; what is missing to it is 0 and left out.
  static double folded(double* lanes, int count) {
    for (int half = up_to_power(count, kRange) / 2; half > 0; half /= 2) {
      for (int l = half; l < count; ++l) lanes[l - half] = torchdiff::add(lanes[l - half], lanes[l]);
      count = std::min(count, half);
    }
    return lanes[0];
  }

  const Problem& problem_;
  const Simd& simd_;
  const int64_t blocks_per_sample_;
  double lanes_[kRange];
  T buffer_[kElements + 4 * kGroup];  // a loop may write a group beyond the chunk
  Counters counters_;
};

// How many tasks of `elements` elements a thread should get at least: see affine_cpu.cpp.
int64_t grain(const Problem& problem, int64_t elements) {
  return std::max<int64_t>(1, (problem.draws > 0 ? 1 << 14 : 1 << 16) / elements);
}

// Tasks do not depend on the number of threads, and no sum on its task: any split gives the same bits.
template <typename T>
void short_samples(const Problem& problem, double* out) {
  const int64_t columns = problem.inputs + problem.draws, blocks = (problem.event + 3) / 4, together = kBlocks / blocks;
  const int64_t chunks = (problem.batch + together - 1) / together;
  const int64_t elements = together * problem.event * columns;
  torch::stable::parallel_for(0, chunks, grain(problem, elements), [&](int64_t first, int64_t last) {
    Worker<T> worker(problem, best());
    for (int64_t i = first; i < last; ++i) {
      const int64_t sample = i * together;
      const int samples = static_cast<int>(std::min(together, problem.batch - sample));
      for (int c = 0; c < columns; ++c) worker.samples(c, sample, samples, out + sample * columns + c, columns);
    }
  });
}

template <typename T>
void long_samples(const Problem& problem, double* out) {
  const int64_t rows = problem.batch * (problem.inputs + problem.draws);
  const int ranges = lanes_of((problem.event + 3) / 4).ranges, columns = problem.inputs + problem.draws;
  std::vector<double> sums(rows * ranges);
  torch::stable::parallel_for(
      0, rows * ranges, grain(problem, (problem.event + ranges - 1) / ranges), [&](int64_t first, int64_t last) {
        Worker<T> worker(problem, best());
        for (int64_t i = first; i < last; ++i) {
          const int64_t row = i / ranges;
          sums[i] = worker.range(row / columns, static_cast<int>(row % columns), static_cast<int>(i % ranges));
        }
      });
  for (int64_t row = 0; row < rows; ++row) out[row] = square_root(fold(sums.data() + row * ranges, 1, ranges));
}

template <typename T>
void run(const Problem& problem, double* out) {
  if ((problem.event + 3) / 4 <= kBlocks / 2) {
    short_samples<T>(problem, out);
  } else {
    long_samples<T>(problem, out);
  }
}

Tensor norms(std::vector<Tensor> tensors, Tensor seeds, int64_t first_index, Tensor draws) {
  check_norms(tensors, seeds, first_index, draws);
  const Problem problem = norms_problem(tensors, seeds, first_index, draws);
  Tensor output = torch::stable::empty({problem.batch, problem.inputs + problem.draws}, ScalarType::Double,
                                       std::nullopt, tensors[0].device());
  double* out = output.mutable_data_ptr<double>();
  if (problem.event == 0) {
    std::fill(out, out + output.numel(), 0.0);
  } else if (problem.batch > 0) {
    problem.wide ? run<double>(problem, out) : run<float>(problem, out);
  }
  return output;
}

}  // namespace
}  // namespace torchdiff

STABLE_TORCH_LIBRARY_IMPL(torchdiff, CPU, m) { m.impl("norms", TORCH_BOX(&torchdiff::norms)); }
