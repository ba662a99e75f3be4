// brownian on CUDA: one thread a noise block, all times of the call, on the current stream. A thread walks down from
// the root for each time: a stack of the shared levels, as on the CPU, would spare a fifth of the normals and live in
// local memory.
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>

#include <cuda_runtime.h>

#include "brownian_block.h"

namespace torchdiff {
namespace {

constexpr int kThreads = 128;

template <typename T, typename Normal>
__global__ void __launch_bounds__(kThreads) brownian_kernel(const __grid_constant__ BrownianProblem problem) {
  const int64_t blocks = problem.batch * problem.blocks_per_sample;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < blocks; i += step) {
    run_brownian_block<T, Normal>(problem, i);
  }
}

template <typename T, typename Normal>
void launch(const BrownianProblem& problem, cudaStream_t stream) {
  const int64_t blocks = problem.batch * problem.blocks_per_sample;
  cudaLaunchConfig_t config = {};
  // The grid may be of any size, because no value depends on it.
  config.gridDim = dim3(static_cast<unsigned>(std::min<int64_t>((blocks + kThreads - 1) / kThreads, 1 << 20)));
  config.blockDim = dim3(kThreads);
  config.stream = stream;
  const cudaError_t error = cudaLaunchKernelEx(&config, brownian_kernel<T, Normal>, problem);
  STD_TORCH_CHECK(error == cudaSuccess, "torchdiff: the kernel did not launch: ", cudaGetErrorString(error));
}

void run(const BrownianProblem& problem, ScalarType dtype, cudaStream_t stream) {
  if (dtype == ScalarType::Float) return launch<float, float>(problem, stream);
  if (dtype == ScalarType::Double) return launch<double, double>(problem, stream);
  if (dtype == ScalarType::Half) return launch<torch::headeronly::Half, float>(problem, stream);
  return launch<torch::headeronly::BFloat16, float>(problem, stream);
}

std::vector<Tensor> brownian(std::vector<int64_t> shape, Tensor seeds, int64_t first_index, int64_t path, Tensor times,
                             double horizon, bool integral, ScalarType dtype) {
  check_brownian(shape, seeds, first_index, path, times, horizon, dtype);
  const std::vector<int32_t> ticks = ticks_of(times, horizon);
  const torch::stable::accelerator::DeviceGuard guard(seeds.get_device_index());
  std::vector<Tensor> outputs = brownian_outputs(shape, seeds, times, integral, dtype);
  if (outputs[0].numel() == 0) return outputs;
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(seeds.get_device_index(), &stream));
  const Tensor each = dense(seeds);
  const BrownianProblem problem = brownian_problem(shape, each, first_index, path, horizon, integral);
  for (size_t first = 0; first + 1 < ticks.size(); first += kTimes - 1) {
    const size_t count = std::min<size_t>(kTimes, ticks.size() - first);
    run(part_of(problem, ticks, first, count, outputs), dtype, static_cast<cudaStream_t>(stream));
  }
  return outputs;
}

}  // namespace
}  // namespace torchdiff

STABLE_TORCH_LIBRARY_IMPL(torchdiff, CUDA, m) { m.impl("brownian", TORCH_BOX(&torchdiff::brownian)); }
