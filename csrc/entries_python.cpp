// The methods of a walk as functions of C: pybind11 takes 0.25 us to read the arguments of a call, a fifth of a step.
#include <exception>
#include <utility>

#include "walk_python.h"

namespace torchdiff {
namespace {

constexpr char kName[] = "torchdiff.Walk";

// A method as a Python function of its item's number and `kArguments - 1` objects.
template <Py_ssize_t kArguments, typename Call>
PyObject* entry(PyObject* self, PyObject* const* arguments, Py_ssize_t count, Call call) {
  if (count != kArguments) {
    PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", kArguments, count);
    return nullptr;
  }
  auto* walk = static_cast<std::shared_ptr<Walk>*>(PyCapsule_GetPointer(self, kName));
  const size_t item = walk == nullptr ? 0 : PyLong_AsSize_t(arguments[0]);
  if (PyErr_Occurred() != nullptr) return nullptr;
  try {
    return call(**walk, item);
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
    return nullptr;
  }
}

PyObject* step(PyObject* self, PyObject* const* given, Py_ssize_t count) {
  return entry<4>(self, given, count, [&](Walk& walk, size_t i) { return walk.step(i, given[1], given[2], given[3]); });
}

PyObject* move(PyObject* self, PyObject* const* given, Py_ssize_t count) {
  return entry<3>(self, given, count, [&](Walk& walk, size_t i) { return walk.move(i, given[1], given[2]); });
}

PyObject* rows(PyObject* self, PyObject* const* given, Py_ssize_t count) {
  return entry<2>(self, given, count, [&](Walk& walk, size_t i) { return walk.rows(i, given[1]); });
}

PyObject* times(PyObject* self, PyObject* const* given, Py_ssize_t count) {
  return entry<1>(self, given, count, [&](Walk& walk, size_t i) { return walk.times(i); });
}

using Fast = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t);

PyMethodDef method(const char* name, Fast function, const char* doc) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)), METH_FASTCALL, doc};
}

}  // namespace

PyObject* entries(std::shared_ptr<Walk> walk) {
  static PyMethodDef methods[] = {method("step", step, "step(item, state, network, conditions)"),
                                  method("move", move, "move(item, state, outputs)"),
                                  method("rows", rows, "rows(item, tensors)"), method("times", times, "times(item)")};
  auto* held = new std::shared_ptr<Walk>(std::move(walk));
  PyObject* self = PyCapsule_New(held, kName, [](PyObject* capsule) {
    delete static_cast<std::shared_ptr<Walk>*>(PyCapsule_GetPointer(capsule, kName));
  });
  if (self == nullptr) {
    delete held;
    return nullptr;
  }
  constexpr Py_ssize_t kCount = sizeof(methods) / sizeof(methods[0]);
  PyObject* all = PyTuple_New(kCount);
  for (Py_ssize_t i = 0; all != nullptr && i < kCount; ++i) {
    PyObject* bound = PyCFunction_New(&methods[i], self);
    if (bound == nullptr) Py_CLEAR(all);
    if (all != nullptr) PyTuple_SET_ITEM(all, i, bound);
  }
  Py_DECREF(self);
  return all;
}

}  // namespace torchdiff
