// affine and normal on CUDA: one thread a noise block, on the current stream, without allocation beyond the outputs.
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>

#include <cuda_runtime.h>

#include <algorithm>

#include "blocks.h"

namespace torchdiff {
namespace {

constexpr int kThreads = 256;

// At least two thread blocks a multiprocessor: left free, ptxas aims for three on sm_100 and spills 432 bytes.
template <int ROWS, typename Normal>
__global__ void __launch_bounds__(kThreads, 2) affine_kernel(const __grid_constant__ BlockProblem problem) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < problem.blocks; i += step) {
    run_block<ROWS, Normal>(problem, i, static_cast<int>(blockIdx.y) * ROWS);
  }
}

template <int ROWS>
void launch(const BlockProblem& problem, bool wide, cudaStream_t stream) {
  // The grid may be of any size, because no value depends on it: large enough to fill the largest GPU many times over.
  const int64_t blocks = std::min<int64_t>((problem.blocks + kThreads - 1) / kThreads, 1 << 20);
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>((problem.rows + ROWS - 1) / ROWS));
  if (wide) {
    affine_kernel<ROWS, double><<<grid, kThreads, 0, stream>>>(problem);
  } else {
    affine_kernel<ROWS, float><<<grid, kThreads, 0, stream>>>(problem);
  }
  const cudaError_t error = cudaGetLastError();
  STD_TORCH_CHECK(error == cudaSuccess, "torchdiff: the kernel did not launch: ", cudaGetErrorString(error));
}

void run(const Problem& problem, int32_t device) {
  const BlockProblem block = block_problem(problem);
  if (block.blocks == 0) return;
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  const auto queue = static_cast<cudaStream_t>(stream);
  if (block.rows == 1) return launch<1>(block, problem.wide, queue);
  if (block.rows == 2) return launch<2>(block, problem.wide, queue);
  return launch<4>(block, problem.wide, queue);
}

std::vector<Tensor> affine(std::vector<Tensor> tensors, Tensor weights, Tensor seeds, int64_t first_index,
                           Tensor draws) {
  check_affine(tensors, weights, seeds, first_index, draws);
  const int64_t rows = weights.size(weights.dim() - 2);
  STD_TORCH_CHECK(static_cast<int64_t>(tensors.size()) + rows <= kMaxColumns, "affine: ", tensors.size(),
                  " tensors and ", rows, " outputs; one CUDA launch takes ", kMaxColumns, " together. Split the call");
  const torch::stable::accelerator::DeviceGuard guard(tensors[0].get_device_index());
  std::vector<Tensor> outputs;
  for (int64_t r = 0; r < rows; ++r) outputs.push_back(torch::stable::empty_like(tensors[0]));
  Problem problem = affine_problem(tensors, outputs, weights, seeds, first_index, draws);
  if (problem.layout.sizes.size() <= kMaxDims) {
    run(problem, tensors[0].get_device_index());
    return outputs;
  }
  // Seven dimensions or more that no two tensors step over alike: through contiguous copies.
  std::vector<Tensor> dense_inputs, dense_outputs;
  for (const Tensor& tensor : tensors) dense_inputs.push_back(dense(tensor));
  for (Tensor& output : outputs) {
    dense_outputs.push_back(torch::stable::empty(output.sizes(), output.scalar_type(), std::nullopt, output.device()));
  }
  run(affine_problem(dense_inputs, dense_outputs, weights, seeds, first_index, draws), tensors[0].get_device_index());
  for (size_t r = 0; r < outputs.size(); ++r) torch::stable::copy_(outputs[r], dense_outputs[r]);
  return outputs;
}

Tensor normal(std::vector<int64_t> shape, Tensor seeds, int64_t first_index, Tensor draw, ScalarType dtype) {
  check_normal(shape, seeds, first_index, draw, dtype);
  const torch::stable::accelerator::DeviceGuard guard(seeds.get_device_index());
  Tensor output = torch::stable::empty(shape, dtype, std::nullopt, seeds.device());
  run(normal_problem(shape, output, seeds, first_index, draw), seeds.get_device_index());
  return output;
}

}  // namespace
}  // namespace torchdiff

STABLE_TORCH_LIBRARY_IMPL(torchdiff, CUDA, m) {
  m.impl("affine", TORCH_BOX(&torchdiff::affine));
  m.impl("normal", TORCH_BOX(&torchdiff::normal));
}
