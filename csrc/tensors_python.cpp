#include "tensors_python.h"

#include <torch/headeronly/core/ScalarType.h>

#include <utility>

#include "dlpack.h"

namespace torchdiff {
namespace {

using torch::headeronly::ScalarType;

// Held for ever: modules are not unloaded.
struct Torch {
  PyTypeObject* tensor = nullptr;
  const dlpack::Exchange* exchange = nullptr;
  PyObject *is_neg = nullptr, *is_inference = nullptr, *use_count = nullptr;
  PyObject *storage_of = nullptr, *storage_holders = nullptr, *weak_references = nullptr;
  PyObject *version = nullptr, *requires_grad = nullptr;  // names
};

// A new reference, or null and no exception.
PyObject* found(PyObject* owner, const char* name) {
  PyObject* value = owner == nullptr ? nullptr : PyObject_GetAttrString(owner, name);
  if (value == nullptr) PyErr_Clear();
  return value;
}

PyObject* module(const char* name) {
  PyObject* value = PyImport_ImportModule(name);
  if (value == nullptr) PyErr_Clear();
  return value;
}

Torch look_up() {
  Torch torch;
  PyObject* inner = module("torch._C");
  PyObject* tensor = found(module("torch"), "Tensor");
  PyObject* capsule = found(tensor, "__dlpack_c_exchange_api__");
  if (capsule == nullptr || !PyCapsule_IsValid(capsule, dlpack::kName)) return torch;
  auto* exchange = static_cast<const dlpack::Exchange*>(PyCapsule_GetPointer(capsule, dlpack::kName));
  if (exchange->version.major != dlpack::kMajor || exchange->view == nullptr) return torch;
  torch.tensor = reinterpret_cast<PyTypeObject*>(tensor);
  torch.is_neg = found(tensor, "is_neg");
  torch.is_inference = found(tensor, "is_inference");
  torch.use_count = found(tensor, "_use_count");  // these four may be missing: then nothing counts as forgotten
  torch.storage_of = found(inner, "_storage_address");
  torch.storage_holders = found(inner, "_storage_Use_Count");
  torch.weak_references = found(module("_weakref"), "getweakrefcount");
  torch.version = PyUnicode_InternFromString("_version");
  torch.requires_grad = PyUnicode_InternFromString("requires_grad");
  if (torch.is_neg != nullptr && torch.is_inference != nullptr) torch.exchange = exchange;
  return torch;
}

const Torch& torch_python() {
  static const Torch torch = look_up();
  return torch;
}

// What function(argument) returns; null, and no exception, where it raises.
PyObject* answer(PyObject* function, PyObject* argument) {
  PyObject* result = PyObject_CallOneArg(function, argument);
  if (result == nullptr) PyErr_Clear();
  return result;
}

bool says(PyObject* function, PyObject* argument, PyObject* wanted) {
  PyObject* result = answer(function, argument);
  Py_XDECREF(result);  // True and False live on
  return result == wanted;
}

bool counts(PyObject* function, PyObject* argument, long wanted) {
  if (function == nullptr) return false;
  PyObject* result = answer(function, argument);
  if (result == nullptr) return false;
  const long count = PyLong_AsLong(result);
  Py_DECREF(result);
  return count == wanted;
}

bool has_attributes(PyObject* tensor) {
  PyObject* attributes = PyObject_GenericGetDict(tensor, nullptr);
  if (attributes == nullptr) PyErr_Clear();
  const bool some = attributes == nullptr || PyDict_GET_SIZE(attributes) > 0;
  Py_XDECREF(attributes);
  return some;
}

bool records(PyObject* tensor) {
  PyObject* wanted = PyObject_GetAttr(tensor, torch_python().requires_grad);
  if (wanted == nullptr) PyErr_Clear();
  Py_XDECREF(wanted);
  return wanted != Py_False;
}

bool is_storage_shared(PyObject* tensor) {
  PyObject* storage = torch_python().storage_of == nullptr ? nullptr : answer(torch_python().storage_of, tensor);
  if (storage == nullptr) return true;
  const bool alone = counts(torch_python().storage_holders, storage, 1);
  Py_DECREF(storage);
  return !alone;
}

// False, and no exception, for what has no memory to show: sparse tensors, for one.
bool described(PyObject* tensor, dlpack::View* seen) {
  if (torch_python().exchange->view(tensor, seen) == 0) return true;
  PyErr_Clear();
  return false;
}

void* first_value(const dlpack::View& seen) {
  return seen.data == nullptr ? nullptr : static_cast<char*>(seen.data) + seen.byte_offset;
}

}  // namespace

bool has_exchange() { return torch_python().exchange != nullptr; }

void* address_of(PyObject* tensor) {
  dlpack::View seen;
  return described(tensor, &seen) ? first_value(seen) : nullptr;
}

Plain::Plain(std::vector<int64_t> shape, int dtype) : shape_(std::move(shape)), code_(dlpack::kFloat), bits_(32) {
  const auto type = static_cast<ScalarType>(dtype);
  if (type == ScalarType::BFloat16) code_ = dlpack::kBfloat;
  if (type == ScalarType::BFloat16 || type == ScalarType::Half) bits_ = 16;
  if (type == ScalarType::Double) bits_ = 64;
}

void* Plain::address(PyObject* object) const {
  dlpack::View seen;
  if (Py_TYPE(object) != torch_python().tensor || !described(object, &seen)) return nullptr;
  if (seen.device.type != dlpack::kCpu || seen.dtype.code != code_ || seen.dtype.bits != bits_ ||
      seen.dtype.lanes != 1 || static_cast<size_t>(seen.ndim) != shape_.size()) {
    return nullptr;
  }
  int64_t stride = 1;
  for (size_t d = shape_.size(); d-- > 0;) {
    if (seen.shape[d] != shape_[d]) return nullptr;
    if (shape_[d] != 1 && seen.strides != nullptr && seen.strides[d] != stride) return nullptr;
    stride *= shape_[d];
  }
  return says(torch_python().is_neg, object, Py_False) ? first_value(seen) : nullptr;
}

// Both counts: not every torch holds the Python object of a tensor that C++ holds, a saved one for instance.
bool is_forgotten(PyObject* tensor) {
  return Py_REFCNT(tensor) == 1 && counts(torch_python().use_count, tensor, 1) && !has_attributes(tensor) &&
         !records(tensor) && counts(torch_python().weak_references, tensor, 0) && !is_storage_shared(tensor);
}

int64_t version_of(PyObject* tensor) {
  static bool some_do_not_count = false;  // to ask costs as much as the version
  if (some_do_not_count && says(torch_python().is_inference, tensor, Py_True)) return -1;
  PyObject* version = PyObject_GetAttr(tensor, torch_python().version);
  if (version == nullptr && !some_do_not_count) {
    PyErr_Clear();
    some_do_not_count = true;
    return version_of(tensor);
  }
  if (version == nullptr) return -2;
  const int64_t count = PyLong_AsLongLong(version);
  Py_DECREF(version);
  return count;
}

}  // namespace torchdiff
