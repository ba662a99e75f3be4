// The device that the shim plays: its guard and its current stream, and what the tests ask of it.
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>

#include <set>
#include <vector>

#include "blocks.h"

namespace torchdiff {
namespace shim {

constexpr int32_t kNoDevice = -2;  // CPU tensors say -1
int32_t current = kNoDevice;
std::set<const void*> kernels;

cudaStream_t stream_of(int32_t device) { return reinterpret_cast<cudaStream_t>(intptr_t{0x1000} + device); }

bool ready(const cudaLaunchConfig_t& config) { return current != kNoDevice && config.stream == stream_of(current); }

void record(const void* kernel) { kernels.insert(kernel); }

void set_grid(int64_t blocks, bool last_first) {
  forced_blocks = static_cast<unsigned>(blocks);
  reversed = last_first;
}

// The number of different kernels launched since the last call.
int64_t kernels_run() {
  const auto count = static_cast<int64_t>(kernels.size());
  kernels.clear();
  return count;
}

int64_t divide(int64_t n, int64_t by) { return quotient(n, divisor(by)); }

// Where elements element, ..., element + 3 of a tensor lie, as a thread walks from one to the next.
std::vector<int64_t> offsets(Tensor tensor, int64_t element) {
  const Layout layout = join({tensor}, 1, logical_order(tensor));
  BlockProblem block = {};
  block.dims = static_cast<int>(layout.sizes.size());
  for (int d = 0; d < block.dims; ++d) block.sizes[d] = divisor(layout.sizes[block.dims - 1 - d]);
  const BlockColumn column = block_column(layout.columns[0], layout.sizes);
  std::vector<int64_t> result;
  uint64_t offset = offset_of(block, column, place_of(block, element));
  for (int i = 0; i < 4 && element + i < tensor.numel(); ++i) {
    if (i > 0) offset += column.jumps[step_to(block, element + i)];
    result.push_back(static_cast<int64_t>(offset));
  }
  return result;
}

// Where the first elements of groups 0 to count - 1 of a tensor lie, in the order of the threads.
std::vector<int64_t> order(Tensor tensor, Tensor weights, Tensor seeds, Tensor draws, int64_t count) {
  const BlockProblem block = block_problem(affine_problem({tensor}, {tensor}, weights, seeds, 0, draws), 4);
  std::vector<int64_t> result;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t group = block_of(block, i), sample = quotient(group, block.groups_a_sample);
    const int64_t element = sample * block.event + 4 * (group - sample * block.groups_a_sample.value);
    result.push_back(static_cast<int64_t>(offset_of(block, block.columns[1], place_of(block, element))));
  }
  return result;
}

}  // namespace shim
}  // namespace torchdiff

// These stand before libtorch's, which need a real device (the shim is linked with -Bsymbolic).
extern "C" {
AOTITorchError aoti_torch_create_device_guard(int32_t device, DeviceGuardHandle* guard) {
  *guard = reinterpret_cast<DeviceGuardHandle>(new int32_t(torchdiff::shim::current));
  torchdiff::shim::current = device;
  return 0;
}
AOTITorchError aoti_torch_delete_device_guard(DeviceGuardHandle guard) {
  auto* before = reinterpret_cast<int32_t*>(guard);
  torchdiff::shim::current = *before;
  delete before;
  return 0;
}
AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device, void** stream) {
  *stream = torchdiff::shim::stream_of(device);
  return 0;
}
}

STABLE_TORCH_LIBRARY(torchdiff, m) {
  m.def("set_grid(int blocks, bool last_first) -> ()");
  m.def("kernels_run() -> int");
  m.def("divide(int n, int by) -> int");
  m.def("offsets(Tensor tensor, int element) -> int[]");
  m.def("order(Tensor tensor, Tensor weights, Tensor seeds, Tensor draws, int count) -> int[]");
}

_STABLE_TORCH_LIBRARY_IMPL(torchdiff_shim, CompositeExplicitAutograd, m, C10_UID) {
  m.impl("set_grid", TORCH_BOX(&torchdiff::shim::set_grid));
  m.impl("kernels_run", TORCH_BOX(&torchdiff::shim::kernels_run));
  m.impl("divide", TORCH_BOX(&torchdiff::shim::divide));
  m.impl("offsets", TORCH_BOX(&torchdiff::shim::offsets));
  m.impl("order", TORCH_BOX(&torchdiff::shim::order));
}
