#include "walk_python.h"

#include <algorithm>
#include <utility>

#include "arguments.h"

namespace torchdiff {
namespace {

constexpr size_t kMostLive = 512;  // tensors of a state and outputs; a plan of 100 steps keeps some ten

struct Drop {
  void operator()(PyObject* object) const { Py_DECREF(object); }
};
using Owned = std::unique_ptr<PyObject, Drop>;  // a reference

Owned another(PyObject* object) {
  Py_INCREF(object);
  return Owned(object);
}

class Unlocked {  // the GIL
 public:
  explicit Unlocked(bool wanted) : thread_(wanted ? PyEval_SaveThread() : nullptr) {}
  ~Unlocked() {
    if (thread_ != nullptr) PyEval_RestoreThread(thread_);
  }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  PyThreadState* const thread_;
};

template <typename T>
void fill(void* data, int64_t count, double value) {
  std::fill_n(static_cast<T*>(data), count, static_cast<T>(value));
}

PyObject* pair(Owned first, Owned second) {
  PyObject* both = PyTuple_New(2);
  if (both == nullptr) return nullptr;
  PyTuple_SET_ITEM(both, 0, first.release());
  PyTuple_SET_ITEM(both, 1, second.release());
  return both;
}

// All of them, rows first; null with an exception.
PyObject* joined(Owned* rows, size_t height, PyObject* const* kept, size_t count) {
  PyObject* all = PyTuple_New(static_cast<Py_ssize_t>(height + count));
  if (all == nullptr) return nullptr;
  for (size_t r = 0; r < height; ++r) PyTuple_SET_ITEM(all, static_cast<Py_ssize_t>(r), rows[r].release());
  for (size_t k = 0; k < count; ++k) {
    PyTuple_SET_ITEM(all, static_cast<Py_ssize_t>(height + k), another(kept[k]).release());
  }
  return all;
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

// A tuple of the rows and of what is kept, from the inputs and their addresses, which leave room for those of the rows.
PyObject* Walk::make(size_t number, PyObject* const* inputs, void** addresses, bool over_spent,
                     const std::vector<PyObject*>& kept, bool* finite) {
  const Table::Item& item = program_->item(number);
  Owned rows[kMostRows];
  int done = 0;
  // first the memory of spent rows, whose lines are in the caches
  for (size_t k = 0; over_spent && k < item.slots.spent.size() && done < item.rows; ++k) {
    const int place = item.slots.spent[k];
    const auto known = made_.find(inputs[place]);
    if (known == made_.end() || known->second != addresses[place] || !is_forgotten(inputs[place])) continue;
    addresses[item.inputs + done] = addresses[place];
    rows[done++] = another(inputs[place]);
  }
  for (; done < item.rows; ++done) {
    rows[done].reset(PyObject_CallOneArg(fresh_, inputs[0]));
    if (rows[done] == nullptr) return nullptr;
    addresses[item.inputs + done] = address_of(rows[done].get());
    made_[rows[done].get()] = addresses[item.inputs + done];
  }
  {
    const Unlocked unlocked(!program_->quick());
    *finite = program_->run(number, addresses);
  }
  return joined(rows, static_cast<size_t>(item.rows), kept.data(), kept.size());
}

// The state after an item; null without an exception where not all is plain and at places of its own.
PyObject* Walk::moved(size_t number, PyObject* state, PyObject* const* outputs, size_t count, bool* finite) {
  const Table::Slots& slots = program_->item(number).slots;
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
  kept_.clear();
  for (const int slot : slots.keep) kept_.push_back(live[slot]);
  return make(number, inputs, addresses, rewrite_, kept_, finite);
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
  if (!versions(arguments + 1, count, before)) return nullptr;
  Owned output;
  {
    const Owned lent(times(number));
    if (lent == nullptr) return nullptr;
    arguments[1 + count] = lent.get();
    output.reset(PyObject_VectorcallDict(network, arguments + 1, (count + 1) | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                         conditions == Py_None ? nullptr : conditions));
  }
  if (output == nullptr || !versions(arguments + 1, count, after)) return nullptr;
  if (!std::equal(before, before + count, after)) Py_RETURN_NONE;
  PyObject* const said = output.get();
  bool finite = false;
  Owned next(moved(number, state, &said, 1, &finite));
  if (next == nullptr && PyErr_Occurred() != nullptr) return nullptr;
  if (next == nullptr) return pair(another(Py_None), std::move(output));
  return pair(std::move(next), finite ? another(Py_True) : std::move(output));
}

PyObject* Walk::move(size_t number, PyObject* state, PyObject* outputs) {
  if (!PyTuple_Check(outputs)) {
    PyErr_SetString(PyExc_TypeError, "Walk.move: expected a tuple of outputs");
    return nullptr;
  }
  bool finite = false;
  Owned next(
      moved(number, state, &PyTuple_GET_ITEM(outputs, 0), static_cast<size_t>(PyTuple_GET_SIZE(outputs)), &finite));
  if (next != nullptr) return pair(std::move(next), another(finite ? Py_True : Py_False));
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
  bool finite = false;
  return make(number, inputs, addresses, false, {}, &finite);
}

}  // namespace torchdiff
