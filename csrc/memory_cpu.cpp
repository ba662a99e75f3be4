#include "memory_cpu.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#if defined(__linux__)
#include <dlfcn.h>
#include <pthread.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "kept_cpu.h"

namespace torchdiff {
namespace {

using torch::headeronly::DeviceType;
using torch::headeronly::ScalarType;
using torch::stable::Device;
using torch::stable::Tensor;

// A tensor of the caller's memory that says when it is done with. Of the stable ABI of torch 2.11, so it is looked up,
// for the extension loads into 2.10 too, where outputs are torch's own. On other systems nothing is kept.
using FromBlob = AOTITorchError (*)(void* data, int64_t dim, const int64_t* sizes, const int64_t* strides,
                                    int64_t storage_offset, int32_t dtype, int32_t device_type, int32_t device_index,
                                    AtenTensorHandle* tensor, int32_t layout, const uint8_t* metadata,
                                    int64_t metadata_size, void (*deleter)(void* data, void* context), void* context);

FromBlob from_blob() {
#if defined(__linux__)
  static const auto found = reinterpret_cast<FromBlob>(dlsym(RTLD_DEFAULT, "torch_from_blob"));
  return found;
#else
  return nullptr;
#endif
}

// Never destroyed: tensors may be freed after everything else.
Kept& kept() {
  static Kept& found = []() -> Kept& {
    auto* made = new Kept(most_kept(), kKeptWarm);
#if defined(__linux__)
    // a lock that another thread holds at that moment would stay locked in the child
    pthread_atfork([] { kept().mutex().lock(); }, [] { kept().mutex().unlock(); },
                   [] {
                     kept().release_in_child();
                     kept().mutex().unlock();
                   });
#endif
    return *made;
  }();
  return found;
}

bool keeps() {
  static const bool found = from_blob() != nullptr && most_kept() > 0;
  return found;
}

template <typename Sizes>
size_t count_of(const Sizes& sizes) {
  size_t count = 1;
  for (const int64_t size : sizes) count *= static_cast<size_t>(size);
  return count;
}

// Whether no element and no byte between the first and the last lies outside of the tensor.
bool is_dense(const Tensor& tensor) {
  if (tensor.is_contiguous()) return true;
  std::vector<std::pair<int64_t, int64_t>> steps;  // stride, size
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    if (tensor.size(d) != 1) steps.emplace_back(tensor.stride(d), tensor.size(d));
  }
  std::sort(steps.begin(), steps.end());
  int64_t expected = 1;
  for (const auto& [stride, size] : steps) {
    if (stride != expected) return false;
    expected *= size;
  }
  return true;
}

// An empty handle where there is no memory.
Tensor in_kept(size_t bytes, const int64_t* sizes, const int64_t* strides, int64_t dim, ScalarType dtype) {
  size_t size = 0;
  void* data = kept().take(bytes, &size);
  if (data == nullptr) return Tensor();
  AtenTensorHandle handle = nullptr;
  const auto failed = from_blob()(
      data, dim, sizes, strides, 0, torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype)),
      torch::stable::detail::to<int32_t>(torch::stable::detail::from(DeviceType::CPU)), -1, &handle,
      torch::stable::detail::to<int32_t>(torch::stable::detail::from(torch::headeronly::Layout::Strided)), nullptr, 0,
      [](void* freed, void* context) { kept().give(freed, reinterpret_cast<size_t>(context)); },
      reinterpret_cast<void*>(size));
  if (failed) kept().give(data, size);
  STABLE_TORCH_ERROR_CODE_CHECK(failed);
  return Tensor(handle);
}

std::vector<Tensor> rows_like(Tensor like, int64_t rows) {
  std::vector<Tensor> made;
  for (int64_t r = 0; r < rows; ++r) made.push_back(memory_like(like));
  return made;
}

}  // namespace

Tensor memory_like(const Tensor& like) {
  const size_t bytes = static_cast<size_t>(like.numel()) * like.element_size();
  if (bytes >= kKeptLeast && keeps() && like.device().type() == DeviceType::CPU && is_dense(like)) {
    const Tensor made = in_kept(bytes, like.sizes().data(), like.strides().data(), like.dim(), like.scalar_type());
    if (made.defined()) return made;
  }
  return torch::stable::empty_like(like);
}

Tensor memory_for(const std::vector<int64_t>& shape, ScalarType dtype, const Device& device) {
  const size_t element = dtype == ScalarType::Double ? 8 : dtype == ScalarType::Float ? 4 : 2;
  const size_t bytes = count_of(shape) * element;
  if (bytes >= kKeptLeast && keeps() && device.type() == DeviceType::CPU) {
    std::vector<int64_t> strides(shape.size(), 1);
    for (size_t d = shape.size() - 1; d > 0; --d) strides[d - 1] = strides[d] * shape[d];
    const Tensor made = in_kept(bytes, shape.data(), strides.data(), static_cast<int64_t>(shape.size()), dtype);
    if (made.defined()) return made;
  }
  return torch::stable::empty(shape, dtype, std::nullopt, device);
}

size_t most_kept() {
  constexpr char kSwitch[] = "TORCHDIFF_KEEP_MEMORY";
  const char* wanted = std::getenv(kSwitch);
  if (wanted == nullptr || *wanted == '\0') return kKeptMost;
  char* end = nullptr;
  const long long mebibytes = std::strtoll(wanted, &end, 10);
  if (*end != '\0' || mebibytes < 0 || mebibytes > (int64_t{1} << 40)) {
    throw std::invalid_argument(std::string(kSwitch) + " is '" + wanted +
                                "'; expected how many MiB of freed outputs to keep, 0 for torch's own memory");
  }
  return static_cast<size_t>(mebibytes) << 20;
}

size_t release_memory() { return keeps() ? kept().release() : 0; }

}  // namespace torchdiff

STABLE_TORCH_LIBRARY_FRAGMENT(torchdiff, m) { m.def("_rows_like(Tensor like, int rows) -> Tensor[]"); }

STABLE_TORCH_LIBRARY_IMPL(torchdiff, CPU, m) { m.impl("_rows_like", TORCH_BOX(&torchdiff::rows_like)); }
