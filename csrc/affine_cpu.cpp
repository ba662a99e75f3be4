// affine and normal on the CPU: chunks of 64 noise blocks, each widened to float64 columns, summed and rounded.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <vector>

#include "columns_cpu.h"
#include "problem.h"
#include "simd_cpu.h"

namespace torchdiff {
namespace {

int up_to_eight(int count) { return (count + 7) / 8 * 8; }

// One thread's work: the buffers of a chunk and the steps over it.
class Worker {
 public:
  Worker(const Problem& problem, const Simd& simd)
      : problem_(problem),
        simd_(simd),
        blocks_per_sample_((problem.event + 3) / 4),
        columns_(problem.inputs + problem.draws),
        // 8 more: a row sum runs over whole groups of eight, past the last element
        values_(static_cast<size_t>(columns_) * kElements + 8),
        sums_(kElements + 8),
        normals32_(problem.wide ? 0 : kElements),
        normals64_(problem.wide ? kElements : 0),
        counters_() {}

  // Blocks [first, last) of all samples in a row.
  void run(int64_t first, int64_t last) {
    begin_ = element(first);
    count_ = static_cast<int>(element(last) - begin_);
    for (int j = 0; j < problem_.inputs; ++j) {
      load(problem_.layout.columns[j], problem_.layout.sizes, begin_, count_, column(j));
    }
    if (problem_.draws > 0) add_noise(first, static_cast<int>(last - first));
    const double one = 1.0;
    const double* weights = problem_.inputs == 0 ? &one : problem_.weights.const_data_ptr<double>();
    if (!problem_.weights_per_sample) return sum_rows(weights, 0, count_);
    for (int at = 0; at < count_;) {
      const int64_t sample = (begin_ + at) / problem_.event;
      const int next = static_cast<int>(std::min<int64_t>(count_, (sample + 1) * problem_.event - begin_));
      sum_rows(weights + sample * problem_.rows * columns_, at, next - at);
      at = next;
    }
  }

 private:
  double* column(int c) { return values_.data() + static_cast<size_t>(c) * kElements; }

  int64_t element(int64_t block) const {
    return block / blocks_per_sample_ * problem_.event + block % blocks_per_sample_ * 4;
  }

  void add_noise(int64_t first, int blocks) {
    const int64_t* seeds = problem_.seeds.const_data_ptr<int64_t>();
    const int64_t* draws = problem_.draw_numbers.const_data_ptr<int64_t>();
    for (int i = 0; i < blocks; ++i) {
      const int64_t sample = (first + i) / blocks_per_sample_;
      counters_.block[i] = static_cast<uint32_t>((first + i) % blocks_per_sample_);
      counters_.seed[i] = static_cast<uint64_t>(seeds[problem_.seed_per_sample ? sample : 0]);
      counters_.sample[i] = problem_.first_index + (problem_.seed_per_sample ? 0 : static_cast<uint64_t>(sample));
    }
    for (int q = 0; q < problem_.draws; ++q) {
      const uint64_t draw = static_cast<uint64_t>(draws[q]);
      double* values = column(problem_.inputs + q);
      if (problem_.wide) {
        simd_.normals64(counters_, draw, up_to_eight(blocks), normals64_.data());
        keep_real(normals64_.data(), blocks, values);
      } else {
        simd_.normals32(counters_, draw, up_to_eight(blocks), normals32_.data());
        keep_real(normals32_.data(), blocks, values);
      }
    }
  }

  // Drops the lanes beyond the end of a sample whose size is no multiple of four.
  template <typename T>
  void keep_real(const T* normals, int blocks, double* values) const {
    if (problem_.event % 4 == 0) {
      for (int i = 0; i < 4 * blocks; ++i) values[i] = widen(normals[i]);
      return;
    }
    for (int i = 0, at = 0; i < blocks; ++i) {
      const int64_t left = problem_.event - int64_t{4} * counters_.block[i];
      for (int lane = 0; lane < 4 && lane < left; ++lane) values[at++] = widen(normals[4 * i + lane]);
    }
  }

  void sum_rows(const double* weights, int at, int count) {
    for (int r = 0; r < problem_.rows; ++r) {
      simd_.row_sum(weights + static_cast<int64_t>(r) * columns_, values_.data() + at, columns_, up_to_eight(count),
                    sums_.data());
      store(problem_.layout.columns[problem_.inputs + r], problem_.layout.sizes, begin_ + at, count, sums_.data());
    }
  }

  const Problem& problem_;
  const Simd& simd_;
  const int64_t blocks_per_sample_;
  const int columns_;
  std::vector<double> values_, sums_;
  std::vector<float> normals32_;
  std::vector<double> normals64_;
  Counters counters_;
  int64_t begin_ = 0;
  int count_ = 0;
};

// Chunks do not depend on the number of threads, and no element on its chunk: any split gives the same bits.
void run(const Problem& problem) {
  const int64_t blocks = problem.batch * ((problem.event + 3) / 4);
  const int64_t chunks = (blocks + kBlocks - 1) / kBlocks;
  if (chunks == 0) return;
  // Waking a thread costs some 10 us: it should get at least 4096 elements with noise (2 ns each), 32768 without.
  const int64_t grain = problem.draws > 0 ? 16 : 128;
  torch::stable::parallel_for(0, chunks, grain, [&](int64_t first, int64_t last) {
    Worker worker(problem, best());
    for (int64_t c = first; c < last; ++c) worker.run(c * kBlocks, std::min(blocks, (c + 1) * kBlocks));
  });
}

std::vector<Tensor> affine(std::vector<Tensor> tensors, Tensor weights, Tensor seeds, int64_t first_index,
                           Tensor draws) {
  check_affine(tensors, weights, seeds, first_index, draws);
  std::vector<Tensor> outputs;
  const int64_t rows = weights.size(weights.dim() - 2);
  for (int64_t r = 0; r < rows; ++r) outputs.push_back(torch::stable::empty_like(tensors[0]));
  run(affine_problem(tensors, outputs, weights, seeds, first_index, draws));
  return outputs;
}

Tensor normal(std::vector<int64_t> shape, Tensor seeds, int64_t first_index, Tensor draw, ScalarType dtype) {
  check_normal(shape, seeds, first_index, draw, dtype);
  Tensor output = torch::stable::empty(shape, dtype, std::nullopt, seeds.device());
  run(normal_problem(shape, output, seeds, first_index, draw));
  return output;
}

}  // namespace
}  // namespace torchdiff

STABLE_TORCH_LIBRARY_IMPL(torchdiff, CPU, m) {
  m.impl("affine", TORCH_BOX(&torchdiff::affine));
  m.impl("normal", TORCH_BOX(&torchdiff::normal));
}
