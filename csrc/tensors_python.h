// What the loop over a plan has to know of a Python tensor, without torch's dispatcher: shape, dtype and address by
// DLPack's exchange functions (15 ns), and whether anybody else holds it, by torch's own counts.
#pragma once

#include <Python.h>

#include <cstdint>
#include <vector>

namespace torchdiff {

// Whether this torch has the exchange functions. If not, nothing below may be called; all of it is for a thread that
// holds the GIL.
bool has_exchange();

// Where the first value of any tensor lies; null for one without memory of its own.
void* address_of(PyObject* tensor);

// A torch.Tensor (no subclass) on the CPU, contiguous, without a negative bit, of this shape and dtype.
class Plain {
 public:
  // dtype: of c10::ScalarType, a floating one.
  Plain(std::vector<int64_t> shape, int dtype);

  // The address of the values of such a tensor, null for any other object.
  void* address(PyObject* object) const;

  // Along the first dimension.
  int64_t size() const { return shape_[0]; }

 private:
  std::vector<int64_t> shape_;
  uint8_t code_, bits_;
};

// Whether the caller, who holds it once, is the only one who can see the tensor or its memory, or tell it from a new
// one: no view, alias, storage, graph, weak reference, attribute or requires_grad of it is left.
bool is_forgotten(PyObject* tensor);

// How often a tensor was written to; -1 for one of inference mode, which does not count, -2 with an exception set.
int64_t version_of(PyObject* tensor);

}  // namespace torchdiff
