// affine and normal on the CPU: chunks of noise blocks, read in place where they can be, summed and rounded.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <atomic>
#include <type_traits>
#include <vector>

#include "affine_cpu.h"
#include "columns_cpu.h"
#include "fresh_cpu.h"
#include "memory_cpu.h"
#include "problem.h"
#include "simd_cpu.h"

namespace torchdiff {
namespace {

constexpr int64_t kFreshChunks = kFreshPiece / (4 * kElements);  // chunks of a piece, of float32
constexpr int kStride = kElements + 4 * kGroup;  // of a buffer: a loop may write a group beyond the chunk

// One thread's work in sums of T, float or double: the buffers of a chunk and the steps over it.
template <typename T>
class Worker {
 public:
  static constexpr bool kSingle = std::is_same_v<T, float>;
  using W = std::conditional_t<kSingle, Weight, double>;

  // aliased: an output may be an input, so that no row is written before all rows of a chunk are summed. One row of
  // float32 needs no care: its loops read all columns of an element before they write it, and no other element after.
  Worker(const Problem& problem, const Simd& simd, bool aliased)
      : problem_(problem),
        simd_(simd),
        aliased_(aliased && !(kSingle && problem.rows == 1)),
        blocks_per_sample_((problem.event + 3) / 4),
        inputs_(problem.inputs),
        columns_(problem.inputs + problem.draws) {
    // kept between calls: a page of fresh memory costs more than the sums on it
    static thread_local std::vector<T> scratch;
    const size_t needed = static_cast<size_t>(columns_ + problem.rows) * kStride;
    if (scratch.size() < needed) scratch.resize(needed);
    scratch_ = scratch.data();
    for (int q = 0; q < problem.draws; ++q) draws_[q] = static_cast<uint64_t>(problem.draw_numbers[q]);
    if (inputs_ > 0 && !problem.weights_per_sample) set_weights(0);
  }

  // Whether all sums of row 0 so far were finite.
  bool finite() const { return finite_; }

  // The pages that blocks [first, last) will be written to.
  void bring(int64_t first, int64_t last) const {
    for (int r = 0; r < problem_.rows; ++r) {
      if (!output(r).flat) continue;
      with_type(output(r).dtype, [&](auto zero) {
        auto* data = reinterpret_cast<decltype(zero)*>(output(r).data);
        bring_pages(data + element(first), data + element(last));
      });
    }
  }

  // Blocks [first, last) of all samples in a row.
  void run(int64_t first, int64_t last) {
    begin_ = element(first);
    count_ = static_cast<int>(element(last) - begin_);
    for (int j = 0; j < inputs_; ++j) {
      pointers_[j] = in_place<T>(problem_.layout.columns[j], begin_);
      if (pointers_[j] == nullptr) {
        load(problem_.layout.columns[j], problem_.layout.sizes, begin_, count_, buffer(j));
        pointers_[j] = buffer(j);
      }
    }
    for (int q = inputs_; q < columns_; ++q) pointers_[q] = buffer(q);
    for (int r = 0; r < problem_.rows; ++r) {
      T* place = aliased_ ? nullptr : in_place<T>(output(r), begin_);
      out_[r] = place != nullptr ? place : buffer(columns_ + r);
    }
    // below two groups a sample, padding each to whole groups costs more than counters for each block by itself
    if (kSingle && blocks_per_sample_ >= 2 * kGroup) {
      long_samples(first, last);
    } else {
      short_samples(first, static_cast<int>(last - first));
    }
    for (int r = 0; r < problem_.rows; ++r) {
      if (out_[r] == buffer(columns_ + r)) store(output(r), problem_.layout.sizes, begin_, count_, out_[r]);
    }
  }

 private:
  T* buffer(int index) { return scratch_ + static_cast<size_t>(index) * kStride; }
  const Column& output(int r) const { return problem_.layout.columns[inputs_ + r]; }

  int64_t element(int64_t block) const {
    return block / blocks_per_sample_ * problem_.event + block % blocks_per_sample_ * 4;
  }
  static W weight(double value) {
    if constexpr (kSingle) {
      return split(value);
    } else {
      return value;
    }
  }
  void set_weights(int64_t sample) {
    const int size = problem_.rows * columns_;
    const double* weights = problem_.weights + sample * size;
    for (int i = 0; i < size; ++i) weights_[i] = weight(weights[i]);
  }

  // A chunk as pieces of samples, with the noise of whole groups in registers.
  void long_samples(int64_t first, int64_t last) {
    for (int64_t block = first; block < last;) {
      const int64_t sample = block / blocks_per_sample_, within = block % blocks_per_sample_;
      const int64_t next = std::min(last, block - within + blocks_per_sample_);
      const int at = static_cast<int>(element(block) - begin_), count = static_cast<int>(element(next) - begin_) - at;
      if (problem_.weights_per_sample) set_weights(sample);
      if constexpr (kSingle) {
        const Run run = problem_.draws > 0 ? run_of(problem_.streams, sample, within) : Run{};
        const int whole = problem_.draws > 0 ? whole_groups(run, at, count) : 0;
        if (whole < count) rest(run, at, whole, count);
      }
      block = next;
    }
  }

  // How many elements from `at` on are done: those of whole groups, or none where the level has no loop for this.
  int whole_groups(const Run& run, int at, int count) {
    const int whole = count / (4 * kGroup) * (4 * kGroup);
    if (whole == 0) return 0;
    if (inputs_ == 0) {
      simd_.run32(run, draws_[0], whole / 4, out_[0] + at);
      return whole;
    }
    const float* columns[kMostTensors];
    float* out[kMostRows];
    for (int j = 0; j < inputs_; ++j) columns[j] = pointers_[j] + at;
    for (int r = 0; r < problem_.rows; ++r) out[r] = out_[r] + at;
    const Step step = {run, draws_, columns, inputs_, problem_.rows, weights_, out, whole, &finite_};
    return simd_.step32(step, problem_.draws) ? whole : 0;
  }

  // Elements [at + done, at + count) of one sample, by way of buffers; `done` is a multiple of a group.
  void rest(Run run, int at, int done, int count) {
    run.block += static_cast<uint32_t>(done / 4);
    for (int q = 0; q < problem_.draws; ++q) {
      simd_.run32(run, draws_[q], (count - done + 3) / 4, buffer(inputs_ + q) + at + done);
    }
    sum_rows(at + done, count - done);
  }

  // A chunk of many samples, or of float64: the noise from counters of each block.
  void short_samples(int64_t first, int blocks) {
    if (problem_.draws > 0) set_counters(first, blocks);
    for (int q = 0; q < problem_.draws; ++q) {
      T* z = buffer(inputs_ + q);
      if constexpr (kSingle) {
        simd_.normals32(counters_, draws_[q], up_to_group(blocks), z);
      } else {
        simd_.normals64(counters_, draws_[q], up_to_group(blocks), z);
      }
      if (problem_.event % 4 != 0) close_gaps(blocks, z);
    }
    if (!problem_.weights_per_sample) return sum_rows(0, count_);
    for (int at = 0; at < count_;) {
      const int64_t sample = (begin_ + at) / problem_.event;
      const int next = static_cast<int>(std::min<int64_t>(count_, (sample + 1) * problem_.event - begin_));
      set_weights(sample);
      sum_rows(at, next - at);
      at = next;
    }
  }

  void set_counters(int64_t first, int blocks) {
    for (int i = 0; i < up_to_group(blocks); ++i) {
      const int64_t block = first + std::min(i, blocks - 1);
      counters_.set(i, problem_.streams, block / blocks_per_sample_, block % blocks_per_sample_);
    }
  }

  // Drops the lanes beyond the ends of samples whose size is no multiple of four.
  void close_gaps(int blocks, T* z) const {
    for (int i = 0, at = 0; i < blocks; ++i) {
      const int64_t left = problem_.event - int64_t{4} * counters_.block[i];
      for (int lane = 0; lane < 4 && lane < left; ++lane) z[at++] = z[4 * i + lane];
    }
  }

  void sum_rows(int at, int count) {
    if (inputs_ == 0) {
      std::copy(buffer(0) + at, buffer(0) + at + count, out_[0] + at);
      return;
    }
    const T* columns[kMostTensors + kMostDraws];
    for (int c = 0; c < columns_; ++c) columns[c] = pointers_[c] + at;
    for (int r = 0; r < problem_.rows; ++r) {
      const Row<T, W> row = {columns, weights_ + r * columns_, columns_};
      bool finite;
      if constexpr (kSingle) {
        finite = simd_.sum32(row, count, out_[r] + at);
      } else {
        finite = simd_.sum64(row, count, out_[r] + at);
      }
      if (r == 0 && !finite) finite_ = false;
    }
  }

  const Problem& problem_;
  const Simd& simd_;
  const bool aliased_;
  const int64_t blocks_per_sample_;
  const int inputs_, columns_;
  T* scratch_;
  const T* pointers_[kMostTensors + kMostDraws];
  T* out_[kMostRows];
  W weights_[kMostRows * (kMostTensors + kMostDraws)];
  uint64_t draws_[kMostDraws];
  Counters counters_;
  int64_t begin_ = 0;
  int count_ = 0;
  bool finite_ = true;
};

// Chunks do not depend on the number of threads, and no element on its chunk: any split gives the same bits.
template <typename T>
bool run_in(const Problem& problem, Outputs outputs) {
  const int64_t blocks = problem.batch * ((problem.event + 3) / 4);
  const int64_t chunks = (blocks + kBlocks - 1) / kBlocks;
  if (chunks == 0) return true;
  // Waking a thread costs some 10 us: it should get at least 16384 elements with noise (0.7 ns each), 65536 without.
  const int64_t grain = problem.draws > 0 ? 16 : 64;
  const bool fresh = outputs == Outputs::fresh && chunks * 4 * kElements >= kFreshLeast;
  std::atomic<bool> finite{true};
  const auto work = [&](int64_t first, int64_t last) {
    Worker<T> worker(problem, best(), outputs == Outputs::aliased);
    for (int64_t c = first; c < last; ++c) {
      if (fresh && (c - first) % kFreshChunks == 0) {
        worker.bring(c * kBlocks, std::min(blocks, std::min(last, c + kFreshChunks) * kBlocks));
      }
      worker.run(c * kBlocks, std::min(blocks, (c + 1) * kBlocks));
    }
    if (!worker.finite()) finite = false;
  };
  if (chunks <= grain) {
    work(0, chunks);
  } else {
    torch::stable::parallel_for(0, chunks, grain, work);
  }
  return finite;
}

}  // namespace

bool run(const Problem& problem, Outputs outputs) {
  return problem.wide ? run_in<double>(problem, outputs) : run_in<float>(problem, outputs);
}

namespace {

std::vector<Tensor> affine(std::vector<Tensor> tensors, Tensor weights, Tensor seeds, int64_t first_index,
                           Tensor draws) {
  check_affine(tensors, weights, seeds, first_index, draws);
  std::vector<Tensor> outputs;
  const int64_t rows = weights.size(weights.dim() - 2);
  for (int64_t r = 0; r < rows; ++r) outputs.push_back(memory_like(tensors[0]));
  run(affine_problem(tensors, outputs, weights, seeds, first_index, draws), Outputs::fresh);
  return outputs;
}

void affine_out(std::vector<Tensor> tensors, Tensor weights, Tensor seeds, int64_t first_index, Tensor draws,
                std::vector<Tensor> out) {
  check_affine(tensors, weights, seeds, first_index, draws);
  check_out(tensors, weights.size(weights.dim() - 2), out);
  run(affine_problem(tensors, out, weights, seeds, first_index, draws),
      share_memory(tensors, out) ? Outputs::aliased : Outputs::given);
}

Tensor normal(std::vector<int64_t> shape, Tensor seeds, int64_t first_index, Tensor draw, ScalarType dtype) {
  check_normal(shape, seeds, first_index, draw, dtype);
  Tensor output = memory_for(shape, dtype, seeds.device());
  run(normal_problem(output, seeds, first_index, draw), Outputs::fresh);
  return output;
}

void normal_out(Tensor seeds, int64_t first_index, Tensor draw, Tensor out) {
  check_normal_out(seeds, first_index, draw, out);
  run(normal_problem(out, seeds, first_index, draw), Outputs::given);
}

}  // namespace
}  // namespace torchdiff

STABLE_TORCH_LIBRARY_IMPL(torchdiff, CPU, m) {
  m.impl("affine", TORCH_BOX(&torchdiff::affine));
  m.impl("affine.out", TORCH_BOX(&torchdiff::affine_out));
  m.impl("normal", TORCH_BOX(&torchdiff::normal));
  m.impl("normal.out", TORCH_BOX(&torchdiff::normal_out));
}
