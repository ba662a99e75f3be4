// Fresh memory for large outputs.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace torchdiff {

// The tensor itself. The kernel is told to back a large one by huge pages where it leaves that to programs: the first
// write to memory costs a page fault each 4 KiB, for 64 MiB three times what the sums cost.
inline torch::stable::Tensor fresh(torch::stable::Tensor tensor) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kHuge = uintptr_t{2} << 20;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(tensor.mutable_data_ptr());
  const uintptr_t end = begin + static_cast<uintptr_t>(tensor.numel()) * tensor.element_size();
  const uintptr_t first = (begin + kHuge - 1) / kHuge * kHuge, last = end / kHuge * kHuge;
  if (last > first && last - first >= 2 * kHuge) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
  return tensor;
}

inline torch::stable::Tensor fresh_like(const torch::stable::Tensor& tensor) {
  return fresh(torch::stable::empty_like(tensor));
}

}  // namespace torchdiff
