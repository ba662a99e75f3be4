// brownian on CUDA: one thread a noise block, all times of the call, on the current stream. A thread walks down from
// the root for each time: a stack of the shared levels, as on the CPU, would spare a fifth of the normals and live in
// local memory.
#include <torch/csrc/stable/library.h>

#include "brownian_block.h"
#include "launch_cuda.h"

namespace torchdiff {
namespace {

template <typename T, typename Normal>
__global__ void __launch_bounds__(kThreads) brownian_kernel(const __grid_constant__ BrownianProblem problem) {
  const int64_t blocks = problem.batch * problem.blocks_per_sample;
  for (int64_t i = first_group(); i < blocks; i += group_step()) run_brownian_block<T, Normal>(problem, i);
}

void run(const Queue& queue, const BrownianProblem& problem, ScalarType dtype) {
  const int64_t blocks = problem.batch * problem.blocks_per_sample;
  if (dtype == ScalarType::Float) return queue.launch(brownian_kernel<float, float>, problem, blocks);
  if (dtype == ScalarType::Double) return queue.launch(brownian_kernel<double, double>, problem, blocks);
  if (dtype == ScalarType::Half) return queue.launch(brownian_kernel<torch::headeronly::Half, float>, problem, blocks);
  queue.launch(brownian_kernel<torch::headeronly::BFloat16, float>, problem, blocks);
}

std::vector<Tensor> brownian(std::vector<int64_t> shape, Tensor seeds, int64_t first_index, int64_t path, Tensor times,
                             double horizon, bool integral, ScalarType dtype) {
  check_brownian(shape, seeds, first_index, path, times, horizon, dtype);
  const std::vector<int32_t> ticks = ticks_of(times, horizon);
  const Queue queue(seeds.get_device_index());
  std::vector<Tensor> outputs = brownian_outputs(shape, seeds, times, integral, dtype);
  if (outputs[0].numel() == 0) return outputs;
  const Tensor each = dense(seeds);
  const BrownianProblem problem = brownian_problem(shape, each, first_index, path, horizon, integral);
  for (size_t first = 0; first + 1 < ticks.size(); first += kTimes - 1) {
    const size_t count = std::min<size_t>(kTimes, ticks.size() - first);
    run(queue, part_of(problem, ticks, first, count, outputs), dtype);
  }
  return outputs;
}

}  // namespace
}  // namespace torchdiff

STABLE_TORCH_LIBRARY_IMPL(torchdiff, CUDA, m) { m.impl("brownian", TORCH_BOX(&torchdiff::brownian)); }
