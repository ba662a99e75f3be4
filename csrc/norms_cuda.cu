// norms on CUDA: one thread a lane of a column of a sample, then launches that fold the lanes; on the current stream,
// with one allocation from torch's pool, nothing shared and nothing waited for.
#include "norms.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>

#include "launch_cuda.h"
#include "normal.h"
#include "problem.h"
#include "vectors.h"

namespace torchdiff {
namespace {

constexpr int kMostDims = 6;

struct LaneColumn {
  const char* data;
  int64_t strides[kMostDims];
  ScalarType dtype;
  bool flat;
};

// Travels by value in the kernel's parameters, some 2.1 of their 4 KiB.
struct LaneProblem {
  int64_t event, blocks, threads;  // elements and noise blocks of a sample; one thread a lane of a column of a sample
  int64_t sizes[kMostDims];
  int lanes, dims, inputs, columns;
  Streams streams;
  const int64_t* draws;
  double* sums;  // (batch, columns, lanes)
  LaneColumn tensors[kMostTensors];
};

LaneProblem lane_problem(const Problem& problem, double* sums) {
  LaneProblem lane = {};
  const Lanes lanes = lanes_of((problem.event + 3) / 4);
  lane.event = problem.event;
  lane.blocks = (problem.event + 3) / 4;
  lane.lanes = lanes.ranges * lanes.width;
  lane.dims = static_cast<int>(problem.layout.sizes.size());
  lane.inputs = problem.inputs;
  lane.columns = problem.inputs + problem.draws;
  lane.threads = problem.batch * lane.columns * lane.lanes;
  lane.streams = problem.streams;
  lane.draws = problem.draw_numbers;
  lane.sums = sums;
  for (int d = 0; d < lane.dims; ++d) lane.sizes[d] = problem.layout.sizes[d];
  for (int j = 0; j < lane.inputs; ++j) {
    const Column& column = problem.layout.columns[j];
    lane.tensors[j].data = column.data;
    lane.tensors[j].dtype = column.dtype;
    lane.tensors[j].flat = column.flat;
    for (int d = 0; d < lane.dims; ++d) lane.tensors[j].strides[d] = column.strides[d];
  }
  return lane;
}

// Element i of the row-major order, as float or double; every narrower dtype is a float exactly.
template <typename T>
TORCHDIFF_INLINE T element(const LaneProblem& problem, const LaneColumn& column, int64_t i) {
  int64_t offset = i;
  if (!column.flat) {
    offset = 0;
    for (int d = problem.dims - 1; d >= 0; --d) {
      offset += i % problem.sizes[d] * column.strides[d];
      i /= problem.sizes[d];
    }
  }
  return fetch_one<T>(column.data, column.dtype, static_cast<uint64_t>(offset));
}

// Neighbouring threads read neighbouring blocks. At least four thread blocks a multiprocessor: left free, ptxas aims
// for five on sm_80 and spills 8 bytes.
template <typename T>
__global__ void __launch_bounds__(kThreads, 4) lane_kernel(const __grid_constant__ LaneProblem problem) {
  for (int64_t i = first_group(); i < problem.threads; i += group_step()) {
    const int64_t row = i / problem.lanes, sample = row / problem.columns;
    const int column = static_cast<int>(row % problem.columns);
    double sum = 0.0;
    for (int64_t block = i % problem.lanes; block < problem.blocks; block += problem.lanes) {
      const int64_t left = problem.event - 4 * block;
      T v[4] = {};
      if (column < problem.inputs) {
        const int64_t begin = sample * problem.event + 4 * block;
        TORCHDIFF_UNROLL
        for (int k = 0; k < 4; ++k) {
          if (k < left) v[k] = element<T>(problem, problem.tensors[column], begin + k);
        }
      } else {
        const uint64_t seed = problem.streams.seed(sample), number = problem.streams.number(sample);
        const uint64_t draw = static_cast<uint64_t>(problem.draws[column - problem.inputs]);
        box_muller<T>(block_words(seed, draw, number, static_cast<uint32_t>(block)), v);
        TORCHDIFF_UNROLL
        for (int k = 1; k < 4; ++k) v[k] = k < left ? v[k] : T{0};
      }
      sum = add(sum, sum_of_squares(v[0], v[1], v[2], v[3]));
    }
    problem.sums[i] = sum;
  }
}

// Thread i folds `count` sums at distances of step * unit, from i % step * unit on in piece i / step of `stride` sums:
// into the first of them, or its root into norms[i].
struct FoldProblem {
  double* sums;
  double* norms;  // null: the result stays in place, where no other thread reads
  int64_t threads, stride;
  int step, unit, count;
};

__global__ void __launch_bounds__(kThreads) fold_kernel(const __grid_constant__ FoldProblem problem) {
  for (int64_t i = first_group(); i < problem.threads; i += group_step()) {
    double* first = problem.sums + i / problem.step * problem.stride + i % problem.step * problem.unit;
    const double sum = fold(first, static_cast<int64_t>(problem.step) * problem.unit, problem.count);
    if (problem.norms == nullptr) {
      *first = sum;
    } else {
      problem.norms[i] = square_root(sum);
    }
  }
}

Tensor norms(std::vector<Tensor> tensors, Tensor seeds, int64_t first_index, Tensor draws) {
  check_norms(tensors, seeds, first_index, draws);
  const Queue queue(tensors[0].get_device_index());
  Problem problem = norms_problem(tensors, seeds, first_index, draws);
  if (problem.layout.sizes.size() > kMostDims) {  // dimensions that no two tensors step over alike: contiguous copies
    for (Tensor& tensor : tensors) tensor = dense(tensor);
    problem = norms_problem(tensors, seeds, first_index, draws);
  }
  const int64_t rows = problem.batch * (problem.inputs + problem.draws);
  const auto doubles = [&](std::vector<int64_t> shape) {
    return torch::stable::empty(shape, ScalarType::Double, std::nullopt, tensors[0].device());
  };
  Tensor output = doubles({problem.batch, problem.inputs + problem.draws});
  if (rows == 0) return output;
  const Lanes lanes = lanes_of((problem.event + 3) / 4);
  Tensor sums = doubles({rows, lanes.ranges * lanes.width});
  double* data = sums.mutable_data_ptr<double>();
  const LaneProblem lane = lane_problem(problem, data);
  queue.launch(problem.wide ? lane_kernel<double> : lane_kernel<float>, lane, lane.threads);
  // the lanes of each range, sixteen at a time, then the ranges
  for (int width = lanes.width; width > 1;) {
    const int count = std::min(width, 16);
    width /= count;
    const int64_t threads = rows * lanes.ranges * width;
    queue.launch(fold_kernel, FoldProblem{data, nullptr, threads, lanes.width, width, 1, count}, threads);
  }
  double* roots = output.mutable_data_ptr<double>();
  queue.launch(fold_kernel, FoldProblem{data, roots, rows, lane.lanes, 1, lanes.width, lanes.ranges}, rows);
  return output;
}

}  // namespace
}  // namespace torchdiff

STABLE_TORCH_LIBRARY_IMPL(torchdiff, CUDA, m) { m.impl("norms", TORCH_BOX(&torchdiff::norms)); }
