#include "walk_python.h"

#include <algorithm>
#include <utility>

#include "arguments.h"

namespace torchdiff {
namespace {

constexpr size_t kMostLive = 512;  // tensors of a state and outputs; a plan of 100 steps keeps some ten

void forget(PyObject* const* tensors, size_t count) {
  for (size_t i = 0; i < count; ++i) Py_DECREF(tensors[i]);
}

template <typename T>
void fill(void* data, int64_t count, double value) {
  std::fill_n(static_cast<T*>(data), count, static_cast<T>(value));
}

// Two new references as a pair; null ones are passed on.
PyObject* pair(PyObject* first, PyObject* second) {
  PyObject* both = first == nullptr || second == nullptr ? nullptr : PyTuple_New(2);
  if (both == nullptr) {
    Py_XDECREF(first);
    Py_XDECREF(second);
    return nullptr;
  }
  PyTuple_SET_ITEM(both, 0, first);
  PyTuple_SET_ITEM(both, 1, second);
  return both;
}

// The tensors of a state and the outputs after them, by slot.
struct Live {
  PyObject* state;
  PyObject* const* outputs;

  PyObject* operator[](int slot) const {
    const auto there = static_cast<int>(PyTuple_GET_SIZE(state));
    return slot < there ? PyTuple_GET_ITEM(state, slot) : outputs[slot - there];
  }
  bool has(const std::vector<int>& slots, size_t count) const {
    const auto all = static_cast<int>(PyTuple_GET_SIZE(state)) + static_cast<int>(count);
    return std::all_of(slots.begin(), slots.end(), [&](int slot) { return slot >= 0 && slot < all; });
  }
};

// The versions of what the network gets. False with an exception set.
bool versions(PyObject* const* inputs, size_t count, int64_t* found) {
  for (size_t i = 0; i < count; ++i) {
    found[i] = version_of(inputs[i]);
    if (found[i] == -2) return false;
  }
  return true;
}

}  // namespace

Walk::Walk(std::shared_ptr<Program> program, std::vector<int64_t> shape, int dtype, PyObject* times, bool wide,
           std::vector<double> labels, PyObject* fresh, bool rewrite)
    : program_(std::move(program)),
      state_(shape, dtype),
      clock_({shape.at(0)}, static_cast<int>(wide ? ScalarType::Double : ScalarType::Float)),
      prototype_(times),
      times_(nullptr),
      fresh_(fresh),
      labels_(std::move(labels)),
      wide_(wide),
      rewrite_(rewrite) {
  Py_INCREF(prototype_);
  Py_INCREF(fresh_);
}

Walk::~Walk() {
  Py_DECREF(prototype_);
  Py_DECREF(fresh_);
  Py_XDECREF(times_);
}

PyObject* Walk::times(size_t item) {
  if (times_ == nullptr || !is_forgotten(times_) || clock_.address(times_) != clock_at_) {
    Py_CLEAR(times_);
    times_ = PyObject_CallOneArg(fresh_, prototype_);
    if (times_ == nullptr) return nullptr;
    clock_at_ = address_of(times_);
  }
  (wide_ ? fill<double> : fill<float>)(clock_at_, clock_.size(), labels_.at(item));
  Py_INCREF(times_);
  return times_;
}

Walk::Made Walk::make(size_t number, PyObject* const* inputs, void** addresses, bool over_spent, PyObject** into,
                      bool* finite) {
  const Table::Item& item = program_->item(number);
  int done = 0;
  if (over_spent) {
    // first the memory of spent rows, whose lines are in the caches
    for (const int place : item.slots.spent) {
      if (done == item.rows) break;
      const auto known = made_.find(inputs[place]);
      if (known == made_.end() || known->second != addresses[place] || !is_forgotten(inputs[place])) continue;
      addresses[item.inputs + done] = addresses[place];
      into[done++] = inputs[place];
    }
    for (int r = 0; r < done; ++r) Py_INCREF(into[r]);
  }
  for (; done < item.rows; ++done) {
    into[done] = PyObject_CallOneArg(fresh_, inputs[0]);
    if (into[done] == nullptr) {
      forget(into, static_cast<size_t>(done));
      return Made::failed;
    }
    addresses[item.inputs + done] = address_of(into[done]);
    made_[into[done]] = addresses[item.inputs + done];
  }
  if (program_->quick()) {
    *finite = program_->run(number, addresses);
  } else {
    Py_BEGIN_ALLOW_THREADS;
    *finite = program_->run(number, addresses);
    Py_END_ALLOW_THREADS;
  }
  return Made::yes;
}

// The state after an item; null without an exception where not all is plain and at places of its own.
PyObject* Walk::moved(size_t number, PyObject* state, PyObject* const* outputs, size_t count, bool* finite) {
  const Table::Item& item = program_->item(number);
  const Table::Slots& slots = item.slots;
  const Live live{state, outputs};
  if (!PyTuple_Check(state) || !live.has(slots.reads, count) || !live.has(slots.others, 0) ||
      !live.has(slots.keep, count)) {
    PyErr_SetString(PyExc_ValueError, "Walk: another number of tensors than the item reads");
    return nullptr;
  }
  if (slots.reads.empty() || slots.reads.size() + slots.others.size() > kMostLive) return nullptr;
  PyObject* inputs[kMostTensors];
  void* addresses[kMostTensors + kMostRows];
  void* held[kMostLive];
  size_t known = 0;
  for (size_t j = 0; j < slots.reads.size(); ++j) {
    inputs[j] = live[slots.reads[j]];
    held[known++] = addresses[j] = state_.address(inputs[j]);
  }
  for (const int slot : slots.others) held[known++] = address_of(live[slot]);
  for (size_t j = 0; j < known; ++j) {
    if (held[j] == nullptr || std::find(held, held + j, held[j]) != held + j) {
      made_.clear();  // the rows will be the op's
      return nullptr;
    }
  }
  PyObject* rows[kMostRows];
  if (make(number, inputs, addresses, rewrite_, rows, finite) == Made::failed) return nullptr;
  const auto height = static_cast<size_t>(item.rows);
  PyObject* next = PyTuple_New(static_cast<Py_ssize_t>(height + slots.keep.size()));
  if (next == nullptr) {
    forget(rows, height);
    return nullptr;
  }
  for (size_t r = 0; r < height; ++r) PyTuple_SET_ITEM(next, static_cast<Py_ssize_t>(r), rows[r]);
  for (size_t k = 0; k < slots.keep.size(); ++k) {
    PyObject* kept = live[slots.keep[k]];
    Py_INCREF(kept);
    PyTuple_SET_ITEM(next, static_cast<Py_ssize_t>(height + k), kept);
  }
  return next;
}

PyObject* Walk::step(size_t number, PyObject* state, PyObject* network, PyObject* conditions) {
  const std::vector<int>& feed = program_->item(number).slots.feed;
  const size_t count = feed.size();
  const Live live{state, nullptr};
  if (!PyTuple_Check(state) || !live.has(feed, 0) || count > kMostTensors) {
    PyErr_SetString(PyExc_ValueError, "Walk.step: another number of tensors than the network gets");
    return nullptr;
  }
  PyObject* arguments[kMostTensors + 2];  // the first place is for the callee
  for (size_t j = 0; j < count; ++j) arguments[1 + j] = live[feed[j]];
  int64_t before[kMostTensors], after[kMostTensors];
  PyObject* lent = versions(arguments + 1, count, before) ? times(number) : nullptr;
  if (lent == nullptr) return nullptr;
  arguments[1 + count] = lent;
  PyObject* output = PyObject_VectorcallDict(network, arguments + 1, (count + 1) | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                             conditions == Py_None ? nullptr : conditions);
  Py_DECREF(lent);
  if (output == nullptr) return nullptr;
  if (!versions(arguments + 1, count, after)) {
    Py_DECREF(output);
    return nullptr;
  }
  if (!std::equal(before, before + count, after)) {
    Py_DECREF(output);
    Py_RETURN_NONE;
  }
  bool finite = false;
  PyObject* next = moved(number, state, &output, 1, &finite);
  if (next == nullptr) {
    if (PyErr_Occurred() != nullptr) {
      Py_DECREF(output);
      return nullptr;
    }
    Py_INCREF(Py_None);
    return pair(Py_None, output);
  }
  if (!finite) return pair(next, output);
  Py_DECREF(output);
  Py_INCREF(Py_True);
  return pair(next, Py_True);
}

PyObject* Walk::move(size_t number, PyObject* state, PyObject* outputs) {
  if (!PyTuple_Check(outputs)) {
    PyErr_SetString(PyExc_TypeError, "Walk.move: expected a tuple of outputs");
    return nullptr;
  }
  bool finite = false;
  PyObject* next =
      moved(number, state, &PyTuple_GET_ITEM(outputs, 0), static_cast<size_t>(PyTuple_GET_SIZE(outputs)), &finite);
  if (next != nullptr) return pair(next, PyBool_FromLong(finite ? 1 : 0));
  if (PyErr_Occurred() != nullptr) return nullptr;
  Py_RETURN_NONE;
}

PyObject* Walk::rows(size_t number, PyObject* tensors) {
  const Table::Item& item = program_->item(number);
  if (!PyTuple_Check(tensors) || PyTuple_GET_SIZE(tensors) != item.inputs) {
    PyErr_SetString(PyExc_ValueError, "Walk.rows: another number of tensors than the rows read");
    return nullptr;
  }
  if (item.inputs == 0) Py_RETURN_NONE;
  void* addresses[kMostTensors + kMostRows];
  PyObject* const* inputs = &PyTuple_GET_ITEM(tensors, 0);
  for (int j = 0; j < item.inputs; ++j) {
    addresses[j] = state_.address(inputs[j]);
    if (addresses[j] == nullptr) Py_RETURN_NONE;
  }
  PyObject* made[kMostRows];
  bool finite = false;
  if (make(number, inputs, addresses, false, made, &finite) == Made::failed) return nullptr;
  PyObject* all = PyTuple_New(item.rows);
  for (int r = 0; r < item.rows; ++r) {
    if (all == nullptr) {
      Py_DECREF(made[r]);
    } else {
      PyTuple_SET_ITEM(all, r, made[r]);
    }
  }
  return all;
}

}  // namespace torchdiff
