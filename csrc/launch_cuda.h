// How every csrc/*_cuda.cu starts its kernels: on the current stream of the tensors' device, one thread a group of
// work.
//
// The kernels here share nothing and never wait: no shared memory, no atomics, no synchronisation, so any grid gives
// the same bits, and the tests can run the same source on the CPU (tests/shim).
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cstdint>

namespace torchdiff {

constexpr int kThreads = 256;

// Makes a device current while it lives, and launches on that device's current stream.
class Queue {
 public:
  explicit Queue(int32_t device) : guard_(device) {
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream_));
  }

  // Starts at least one thread a group for each of `slices` (blockIdx.y), or fewer that loop: see first_group.
  template <typename Problem>
  void launch(void (*kernel)(Problem), const Problem& problem, int64_t groups, int slices = 1) const {
    static_assert(sizeof(Problem) <= 4096, "kernel parameters end at 4 KiB on devices before Hopper's 32 KiB");
    if (groups == 0) return;
    cudaLaunchConfig_t config = {};
    // 2^20 thread blocks fill the largest GPU a thousand times over; more would only be launched, not run at once.
    config.gridDim = dim3(static_cast<unsigned>(std::min<int64_t>((groups + kThreads - 1) / kThreads, 1 << 20)),
                          static_cast<unsigned>(slices));
    config.blockDim = dim3(kThreads);
    config.stream = static_cast<cudaStream_t>(stream_);
    const cudaError_t error = cudaLaunchKernelEx(&config, kernel, problem);
    if (error != cudaSuccess) cudaGetLastError();  // else torch would report it again, at another operation
    STD_TORCH_CHECK(error == cudaSuccess, "torchdiff: the kernel did not launch: ", cudaGetErrorString(error));
  }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  void* stream_ = nullptr;
};

// for (int64_t i = first_group(); i < groups; i += group_step()): all groups, whatever the grid.
inline __device__ int64_t first_group() { return static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; }
inline __device__ int64_t group_step() { return static_cast<int64_t>(gridDim.x) * kThreads; }

}  // namespace torchdiff
