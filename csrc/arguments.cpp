#include "arguments.h"

#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <utility>

#include "brownian.h"

namespace torchdiff {
namespace {

using torch::headeronly::DeviceType;
using torch::stable::Device;

std::string text(const Device& device) {
  std::string name = "device type " + std::to_string(static_cast<int>(device.type()));
  if (device.type() == DeviceType::CPU) name = "cpu";
  if (device.type() == DeviceType::CUDA) name = "cuda";
  if (device.type() == DeviceType::Meta) name = "meta";
  return device.index() < 0 ? name : name + ":" + std::to_string(device.index());
}

template <typename Sizes>
std::string text(const Sizes& sizes) {
  std::string result = "(";
  for (size_t d = 0; d < sizes.size(); ++d) result += (d == 0 ? "" : ", ") + std::to_string(sizes[d]);
  return result + (sizes.size() == 1 ? ",)" : ")");
}

bool is_float(ScalarType dtype) {
  return dtype == ScalarType::Float || dtype == ScalarType::Double || dtype == ScalarType::Half ||
         dtype == ScalarType::BFloat16;
}

void check_tensor(const char* op, const char* name, const Tensor& tensor, ScalarType dtype, const Device& device) {
  STD_TORCH_CHECK(tensor.device() == device, op, ": ", name, " is on ", text(tensor.device()), ", expected ",
                  text(device), "; move it there");
  STD_TORCH_CHECK(tensor.scalar_type() == dtype, op, ": ", name, " has dtype ",
                  torch::headeronly::toString(tensor.scalar_type()), "; expected ", torch::headeronly::toString(dtype));
}

// The bytes from the first to the last element. Empty for a tensor without elements.
struct Extent {
  uintptr_t begin, end;
};

Extent extent(const Tensor& t) {
  const uintptr_t data = reinterpret_cast<uintptr_t>(t.const_data_ptr());
  if (t.numel() == 0) return {data, data};
  int64_t last = 0;  // torch has no negative strides
  for (int64_t d = 0; d < t.dim(); ++d) last += (t.size(d) - 1) * t.stride(d);
  return {data, data + static_cast<uintptr_t>((last + 1) * t.element_size())};
}

bool overlap(const Tensor& a, const Tensor& b) {
  const Extent first = extent(a), second = extent(b);
  return first.begin < second.end && second.begin < first.end;
}

// Tensors of one shape whose elements lie in the same places.
bool same_elements(const Tensor& a, const Tensor& b) {
  if (a.const_data_ptr() != b.const_data_ptr() || a.scalar_type() != b.scalar_type()) return false;
  for (int64_t d = 0; d < a.dim(); ++d) {
    if (a.size(d) > 1 && a.stride(d) != b.stride(d)) return false;
  }
  return true;
}

// No two elements of one tensor in one place: sorted by stride, each dimension steps over all that lies below it.
void check_own_memory(const char* op, const std::string& name, const Tensor& t) {
  std::vector<std::pair<int64_t, int64_t>> steps;  // stride, size
  for (int64_t d = 0; d < t.dim(); ++d) {
    if (t.size(d) > 1) steps.emplace_back(t.stride(d), t.size(d));
  }
  std::sort(steps.begin(), steps.end());
  int64_t below = 0;  // the largest offset of the dimensions before
  for (const auto& [stride, size] : steps) {
    STD_TORCH_CHECK(t.numel() == 0 || stride > below, op, ": ", name, " overlaps itself, with strides ",
                    text(t.strides()), "; give it memory for every element");
    below += (size - 1) * stride;
  }
}

void check_seeds(const char* op, int64_t batch, int64_t event, bool noisy, const Tensor& seeds, int64_t first_index,
                 const Device& device) {
  check_tensor(op, "seeds", seeds, ScalarType::Long, device);
  const int64_t count = seeds.numel();
  STD_TORCH_CHECK(seeds.dim() == 1 && (count == 1 || count == batch || (count == 0 && !noisy)), op,
                  ": seeds has shape ", text(seeds.sizes()), "; expected (1,), shared by the batch, or (", batch,
                  ",), one a sample (empty only without draws)");
  STD_TORCH_CHECK(first_index >= 0, op, ": first_index is ", first_index, "; expected 0 or more");
  STD_TORCH_CHECK(!noisy || event <= kLargestEvent, op, ": a sample of ", event,
                  " elements; the noise counter ends at 2^34. Split the sample");
}

// The elements of one sample; INT64_MAX, to be refused by name, where they are too many to count.
int64_t check_shape(const char* op, const std::vector<int64_t>& shape) {
  STD_TORCH_CHECK(!shape.empty(), op, ": shape is empty; its first number is the batch");
  int64_t event = 1;
  for (size_t d = 0; d < shape.size(); ++d) {
    STD_TORCH_CHECK(shape[d] >= 0, op, ": shape ", text(shape), " has a negative number");
    if (d > 0 && __builtin_mul_overflow(event, shape[d], &event)) event = INT64_MAX;
  }
  return event;
}

// The arguments that affine and norms have in common.
void check_columns(const char* op, const std::vector<Tensor>& tensors, const Tensor& seeds, int64_t first_index,
                   const Tensor& draws) {
  STD_TORCH_CHECK(!tensors.empty(), op, ": tensors is empty; give at least one tensor (B, *event)");
  STD_TORCH_CHECK(tensors.size() <= kMostTensors, op, ": ", tensors.size(),
                  " tensors; a call takes up to 32. Split them over several calls");
  const Tensor& first = tensors[0];
  STD_TORCH_CHECK(first.dim() > 0, op, ": tensors[0] has no batch dimension; give (B, *event), or unsqueeze it");
  const Device device = first.device();
  const std::vector<int64_t> shape(first.sizes().begin(), first.sizes().end());
  for (size_t j = 0; j < tensors.size(); ++j) {
    const Tensor& t = tensors[j];
    STD_TORCH_CHECK(t.device() == device, op, ": tensors[", j, "] is on ", text(t.device()), ", tensors[0] on ",
                    text(device), "; move them to one device");
    STD_TORCH_CHECK(t.sizes() == first.sizes(), op, ": tensors[", j, "] has shape ", text(t.sizes()), ", tensors[0] ",
                    text(shape), "; they must be equal");
    STD_TORCH_CHECK(is_float(t.scalar_type()), op, ": tensors[", j, "] has dtype ",
                    torch::headeronly::toString(t.scalar_type()), "; expected float32, float64, float16 or bfloat16");
  }
  int64_t event = 1;
  for (size_t d = 1; d < shape.size(); ++d) event *= shape[d];
  check_tensor(op, "draws", draws, ScalarType::Long, device);
  check_seeds(op, shape[0], event, draws.numel() > 0, seeds, first_index, device);
  STD_TORCH_CHECK(draws.dim() == 1, op, ": draws has ", draws.dim(), " dimensions; expected one, (Q,)");
  STD_TORCH_CHECK(draws.numel() <= kMostDraws, op, ": ", draws.numel(),
                  " draws; a call takes up to 8. Split them over several calls");
}

}  // namespace

void check_affine(const std::vector<Tensor>& tensors, const Tensor& weights, const Tensor& seeds, int64_t first_index,
                  const Tensor& draws) {
  check_columns("affine", tensors, seeds, first_index, draws);
  check_tensor("affine", "weights", weights, ScalarType::Double, tensors[0].device());
  const int64_t dim = weights.dim(), columns = static_cast<int64_t>(tensors.size()) + draws.numel();
  STD_TORCH_CHECK((dim == 2 || dim == 3) && weights.size(dim - 2) >= 1, "affine: weights has shape ",
                  text(weights.sizes()), "; expected (R, n + Q) or (B, R, n + Q) with R >= 1");
  STD_TORCH_CHECK(weights.size(dim - 2) <= kMostRows, "affine: weights has ", weights.size(dim - 2),
                  " rows; a call makes up to 8. Make the others in another call");
  STD_TORCH_CHECK(weights.size(dim - 1) == columns, "affine: weights has ", weights.size(dim - 1), " columns; ",
                  tensors.size(), " tensors and ", draws.numel(), " draws need ", columns);
  STD_TORCH_CHECK(dim == 2 || weights.size(0) == tensors[0].size(0), "affine: weights has ", weights.size(0),
                  " sample rows for a batch of ", tensors[0].size(0));
}

void check_norms(const std::vector<Tensor>& tensors, const Tensor& seeds, int64_t first_index, const Tensor& draws) {
  check_columns("norms", tensors, seeds, first_index, draws);
}

void check_out(const std::vector<Tensor>& tensors, int64_t rows, const std::vector<Tensor>& out) {
  STD_TORCH_CHECK(static_cast<int64_t>(out.size()) == rows, "affine: out holds ", out.size(), " tensors; weights have ",
                  rows, " rows");
  const Tensor& first = tensors[0];
  for (size_t r = 0; r < out.size(); ++r) {
    const Tensor& t = out[r];
    STD_TORCH_CHECK(t.device() == first.device(), "affine: out[", r, "] is on ", text(t.device()), ", tensors[0] on ",
                    text(first.device()), "; move it there");
    STD_TORCH_CHECK(t.sizes() == first.sizes(), "affine: out[", r, "] has shape ", text(t.sizes()), ", tensors[0] ",
                    text(first.sizes()), "; they must be equal");
    STD_TORCH_CHECK(is_float(t.scalar_type()), "affine: out[", r, "] has dtype ",
                    torch::headeronly::toString(t.scalar_type()), "; expected float32, float64, float16 or bfloat16");
    check_own_memory("affine", "out[" + std::to_string(r) + "]", t);
    for (size_t j = 0; j < tensors.size(); ++j) {
      STD_TORCH_CHECK(!overlap(t, tensors[j]) || same_elements(t, tensors[j]), "affine: out[", r,
                      "] shares memory with tensors[", j, "]; give it memory of its own, or the very same tensor");
    }
    for (size_t other = 0; other < r; ++other) {
      STD_TORCH_CHECK(!overlap(t, out[other]), "affine: out[", r, "] shares memory with out[", other,
                      "]; give it memory of its own");
    }
  }
}

bool share_memory(const std::vector<Tensor>& tensors, const std::vector<Tensor>& out) {
  for (const Tensor& t : out) {
    for (const Tensor& input : tensors) {
      if (overlap(t, input)) return true;
    }
  }
  return false;
}

void check_normal_out(const Tensor& seeds, int64_t first_index, const Tensor& draw, const Tensor& out) {
  STD_TORCH_CHECK(out.device() == seeds.device(), "normal: out is on ", text(out.device()), ", seeds on ",
                  text(seeds.device()), "; move one of them");
  check_normal({out.sizes().begin(), out.sizes().end()}, seeds, first_index, draw, out.scalar_type());
  check_own_memory("normal", "out", out);
}

void check_normal(const std::vector<int64_t>& shape, const Tensor& seeds, int64_t first_index, const Tensor& draw,
                  ScalarType dtype) {
  const int64_t event = check_shape("normal", shape);
  STD_TORCH_CHECK(is_float(dtype), "normal: dtype ", torch::headeronly::toString(dtype),
                  "; expected float32, float64, float16 or bfloat16");
  STD_TORCH_CHECK(draw.numel() == 1, "normal: draw has ", draw.numel(), " elements; expected one");
  check_tensor("normal", "draw", draw, ScalarType::Long, seeds.device());
  check_seeds("normal", shape[0], event, true, seeds, first_index, seeds.device());
}

void check_brownian(const std::vector<int64_t>& shape, const Tensor& seeds, int64_t first_index, int64_t path,
                    const Tensor& times, double horizon, ScalarType dtype) {
  const int64_t event = check_shape("brownian", shape);
  STD_TORCH_CHECK(is_float(dtype), "brownian: dtype ", torch::headeronly::toString(dtype),
                  "; expected float32, float64, float16 or bfloat16");
  check_seeds("brownian", shape[0], event, true, seeds, first_index, seeds.device());
  STD_TORCH_CHECK(path >= 0 && path < kPaths, "brownian: path is ", path, "; expected 0 to ", kPaths - 1);
  check_tensor("brownian", "times", times, ScalarType::Double, Device(DeviceType::CPU));
  STD_TORCH_CHECK(times.dim() == 1 && times.numel() >= 1, "brownian: times has shape ", text(times.sizes()),
                  "; expected (K + 1,), the ends of K intervals");
  STD_TORCH_CHECK(horizon > 0.0 && horizon < 1e300, "brownian: horizon is ", horizon,
                  "; expected a positive finite number");
}

}  // namespace torchdiff
