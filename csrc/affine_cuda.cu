// affine and normal on CUDA: one thread a noise block, on the current stream, without allocation beyond the outputs.
//
// What bounds it, counted from the source and never measured, for an H100 SXM (3.35 TB/s; 132 multiprocessors at 1.755
// GHz that issue 128 lanes). An element takes about 15 instructions of Philox, 25 of Box-Muller, 3 a term of the sum,
// of which one is its share of splitting the weight, and 8 for the rest; bytes against issue slots:
// - x, a network output and noise, float32: 12 bytes in 3.6 ps, 57 instructions in 1.9 ps: bound by memory;
// - the same in halves: 1.8 ps against 1.9 ps: both ends meet; eight elements a thread share the weights;
// - normal, float32: 1.2 ps against 1.6 ps: bound by arithmetic;
// - without noise: n inputs and R rows move (n + R) 1.2 ps and take 0.1 n R ps: bound by memory;
// - float64: x, an output and noise move 24 bytes in 7.2 ps; about 60 float64 operations, at 64 lanes, take 4 ps.
#include <torch/csrc/stable/library.h>

#include "affine_groups.h"
#include "launch_cuda.h"

namespace torchdiff {
namespace {

// Thread blocks that a multiprocessor holds at least. Left free, ptxas takes 94 registers for eight elements of one
// row, and 512 threads are few to hide the latency of the noise.
template <Path kPath, int kRows>
constexpr int kResident = kRows > 1                ? 2
                          : kPath == Path::kHalves ? 3
                                                   : 4;

// tools/cuda_compile.py holds every kernel named *_flat_* to loads and stores of 16 bytes.
template <Path kPath, bool kNoise, int kRows>
__global__ void __launch_bounds__(kThreads, kResident<kPath, kRows>)
    affine_flat_kernel(const __grid_constant__ BlockProblem problem) {
  for (int64_t i = first_group(); i < problem.groups; i += group_step()) {
    flat_group<kPath, kNoise, kRows>(problem, i, static_cast<int>(blockIdx.y) * kRows);
  }
}

template <typename T, bool kNoise, int kRows>
__global__ void __launch_bounds__(kThreads) affine_scattered_kernel(const __grid_constant__ BlockProblem problem) {
  for (int64_t i = first_group(); i < problem.groups; i += group_step()) {
    scattered_group<T, kNoise, kRows>(problem, i, static_cast<int>(blockIdx.y) * kRows);
  }
}

template <Path kPath, bool kNoise, int kRows>
void launch_flat(const Queue& queue, const Problem& problem) {
  const BlockProblem block = block_problem(problem, kSpan<kPath>);
  queue.launch(affine_flat_kernel<kPath, kNoise, kRows>, block, block.groups, (block.rows + kRows - 1) / kRows);
}

template <typename T, bool kNoise>
void launch_scattered(const Queue& queue, const Problem& problem) {
  const BlockProblem block = block_problem(problem, 4);
  queue.launch(affine_scattered_kernel<T, kNoise, 2>, block, block.groups, (block.rows + 1) / 2);
}

template <bool kNoise>
void run(const Queue& queue, const Problem& problem) {
  if (fits(problem, Path::kHalves)) {
    // Two rows at most: four sums of eight elements would take 64 registers.
    if (problem.rows == 1) return launch_flat<Path::kHalves, kNoise, 1>(queue, problem);
    return launch_flat<Path::kHalves, kNoise, 2>(queue, problem);
  }
  if (fits(problem, Path::kNarrow)) {
    if (problem.rows == 1) return launch_flat<Path::kNarrow, kNoise, 1>(queue, problem);
    if (problem.rows == 2) return launch_flat<Path::kNarrow, kNoise, 2>(queue, problem);
    return launch_flat<Path::kNarrow, kNoise, 4>(queue, problem);
  }
  if (fits(problem, Path::kWide)) return launch_flat<Path::kWide, kNoise, 2>(queue, problem);
  if (problem.wide) return launch_scattered<double, kNoise>(queue, problem);
  launch_scattered<float, kNoise>(queue, problem);
}

void run(const Queue& queue, const Problem& problem) {
  if (problem.draws > 0) return run<true>(queue, problem);
  run<false>(queue, problem);
}

std::vector<Tensor> like(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> result;
  for (const Tensor& t : tensors) {
    result.push_back(torch::stable::empty(t.sizes(), t.scalar_type(), std::nullopt, t.device()));
  }
  return result;
}

void run_affine(const std::vector<Tensor>& tensors, const Tensor& weights, const Tensor& seeds, int64_t first_index,
                const Tensor& draws, std::vector<Tensor>& outputs) {
  const Queue queue(tensors[0].get_device_index());
  const Problem problem = affine_problem(tensors, outputs, weights, seeds, first_index, draws);
  // A thread reads its elements of all inputs before it writes, and writes no others: an output may be an input as long
  // as no second slice of rows reads it again. Seven dimensions or more that no two tensors step over alike do not fit
  // into a launch. Both go through memory of their own.
  const bool again = problem.rows > 2 && share_memory(tensors, outputs);
  if (!again && problem.layout.sizes.size() <= kMaxDims) return run(queue, problem);
  std::vector<Tensor> dense_inputs, dense_outputs = like(outputs);
  for (const Tensor& tensor : tensors) dense_inputs.push_back(dense(tensor));
  run(queue, affine_problem(dense_inputs, dense_outputs, weights, seeds, first_index, draws));
  for (size_t r = 0; r < outputs.size(); ++r) torch::stable::copy_(outputs[r], dense_outputs[r]);
}

std::vector<Tensor> affine(std::vector<Tensor> tensors, Tensor weights, Tensor seeds, int64_t first_index,
                           Tensor draws) {
  check_affine(tensors, weights, seeds, first_index, draws);
  const int64_t rows = weights.size(weights.dim() - 2);
  std::vector<Tensor> outputs;
  for (int64_t r = 0; r < rows; ++r) outputs.push_back(torch::stable::empty_like(tensors[0]));
  run_affine(tensors, weights, seeds, first_index, draws, outputs);
  return outputs;
}

void affine_out(std::vector<Tensor> tensors, Tensor weights, Tensor seeds, int64_t first_index, Tensor draws,
                std::vector<Tensor> out) {
  check_affine(tensors, weights, seeds, first_index, draws);
  check_out(tensors, weights.size(weights.dim() - 2), out);
  run_affine(tensors, weights, seeds, first_index, draws, out);
}

void run_normal(const Tensor& seeds, int64_t first_index, const Tensor& draw, Tensor& output) {
  const Queue queue(seeds.get_device_index());
  const Problem problem = normal_problem(output, seeds, first_index, draw);
  if (problem.layout.sizes.size() <= kMaxDims) return run(queue, problem);
  Tensor plain = like({output})[0];
  run(queue, normal_problem(plain, seeds, first_index, draw));
  torch::stable::copy_(output, plain);
}

Tensor normal(std::vector<int64_t> shape, Tensor seeds, int64_t first_index, Tensor draw, ScalarType dtype) {
  check_normal(shape, seeds, first_index, draw, dtype);
  Tensor output = torch::stable::empty(shape, dtype, std::nullopt, seeds.device());
  run_normal(seeds, first_index, draw, output);
  return output;
}

void normal_out(Tensor seeds, int64_t first_index, Tensor draw, Tensor out) {
  check_normal_out(seeds, first_index, draw, out);
  run_normal(seeds, first_index, draw, out);
}

}  // namespace
}  // namespace torchdiff

STABLE_TORCH_LIBRARY_IMPL(torchdiff, CUDA, m) {
  m.impl("affine", TORCH_BOX(&torchdiff::affine));
  m.impl("affine.out", TORCH_BOX(&torchdiff::affine_out));
  m.impl("normal", TORCH_BOX(&torchdiff::normal));
  m.impl("normal.out", TORCH_BOX(&torchdiff::normal_out));
}
