// What we use of DLPack's binary interface, version 1 (github.com/dmlc/dlpack): how it lays out the view of a tensor,
// and the functions that torch.Tensor.__dlpack_c_exchange_api__ points to. torch's own header is not for the stable
// ABI.
#pragma once

#include <cstdint>

namespace torchdiff::dlpack {

constexpr uint32_t kMajor = 1;
constexpr int32_t kCpu = 1;                      // of a device type
constexpr uint8_t kFloat = 2, kBfloat = 4;       // of a dtype's code
constexpr char kName[] = "dlpack_exchange_api";  // of the capsule

// The shape and the strides, in elements, belong to the tensor; no strides mean a contiguous one.
struct View {
  void* data;
  struct {
    int32_t type, index;
  } device;
  int32_t ndim;
  struct {
    uint8_t code, bits;
    uint16_t lanes;
  } dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};

struct Exchange {
  struct {
    uint32_t major, minor;
  } version;
  void* older;
  void (*unused[3])();                          // they allocate, export and import
  int (*view)(void* python_object, View* out);  // 0, or an exception is set; no reference is taken
  void (*stream)();
};

}  // namespace torchdiff::dlpack
