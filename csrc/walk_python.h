// The items of a plan on Python tensors, one call of C for each: the network is asked, its output is looked at, the
// rows are made. torchdiff/walk.py goes through a plan with these and does whatever they leave to it.
#pragma once

#include <Python.h>

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "program.h"
#include "tensors_python.h"

namespace torchdiff {

// For one run, and one thread at a time. A state is a tuple of tensors; what is "plain" is read and written by address.
// Methods return new references, or null with an exception set.
class Walk {
 public:
  // shape, dtype: of each tensor of the state. times: a tensor like those that the network gets as t, (batch,) of
  // float32, or of float64 if `wide`; labels: its values at each item. fresh: a function that makes a tensor like its
  // argument. rewrite: whether a row may be written over one that is spent and forgotten.
  Walk(std::shared_ptr<Program> program, std::vector<int64_t> shape, int dtype, PyObject* times, bool wide,
       std::vector<double> labels, PyObject* fresh, bool rewrite);
  ~Walk();
  Walk(const Walk&) = delete;
  Walk& operator=(const Walk&) = delete;

  // What the network gets as t at an item. It may be written over at the next call, unless somebody holds it then.
  PyObject* times(size_t item);

  // (state after the item, True), or (the same, output) where the output of the network has to be looked at, or
  // (None, its answer) where not all is plain and at places of its own. None if the network wrote into its input.
  PyObject* step(size_t item, PyObject* state, PyObject* network, PyObject* conditions);

  // (state after the item, whether all that the rows read is finite) with these outputs of the network, or None.
  PyObject* move(size_t item, PyObject* state, PyObject* outputs);

  // The rows of an item from what they read, or None where that is not plain.
  PyObject* rows(size_t item, PyObject* tensors);

 private:
  PyObject* make(size_t number, PyObject* const* inputs, void** addresses, bool over_spent,
                 const std::vector<PyObject*>& kept, bool* finite);
  PyObject* moved(size_t number, PyObject* state, PyObject* const* outputs, size_t count, bool* finite);

  std::shared_ptr<Program> program_;
  Plain state_, clock_;
  PyObject *prototype_, *times_, *fresh_;
  void* clock_at_ = nullptr;  // where times_ was made
  std::vector<double> labels_;
  const bool wide_, rewrite_;
  std::vector<PyObject*> kept_;                // of the item at hand, not held
  std::unordered_map<PyObject*, void*> made_;  // rows of this walk, not held, and where they were made: memory may move
};

// (step, move, rows, times) of a walk, as functions that take their arguments as they are. They keep it alive.
PyObject* entries(std::shared_ptr<Walk> walk);

}  // namespace torchdiff
