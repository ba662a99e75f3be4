// The rows of a plan on contiguous CPU memory: what affine does for one item after the other, by addresses.
//
// torch's dispatcher takes 4 us for a call with a list of tensors, on a small batch ten times what the sums take. The
// caller vouches for the memory: that is torchdiff/program.py, which sends everything unusual through the op.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "problem.h"

namespace torchdiff {

// The weights of a plan, whatever the tensors: made once and read by all programs of that plan.
class Table {
 public:
  // Slots of the tensors of the state, and after them of the network's outputs: what the network gets, what the rows
  // read, the rest of the state, what is carried on, and which of `reads` are rows that nothing reads after this item.
  struct Slots {
    std::vector<int> feed, reads, others, keep, spent;
  };

  struct Item {
    std::vector<double> weights;  // (rows, inputs + draws)
    std::vector<int64_t> draws;
    int inputs, rows;
    size_t kind;  // items of one kind have as many inputs, rows and draws
    Slots slots;
  };

  // One more item. Its number is how many there were before.
  void add(std::vector<double> weights, int inputs, int rows, std::vector<int64_t> draws, Slots slots);

  const Item& item(size_t number) const { return items_.at(number); }
  // An item of each kind, by its number.
  const std::vector<size_t>& kinds() const { return kinds_; }

 private:
  std::vector<Item> items_;
  std::vector<size_t> kinds_;
};

class Program {
 public:
  // All tensors are (batch, event) of this dtype, contiguous; seeds: one, or one a sample.
  Program(std::shared_ptr<const Table> table, int64_t batch, int64_t event, int dtype, std::vector<int64_t> seeds,
          int64_t first_index);

  const Table::Item& item(size_t number) const { return table_->item(number); }

  // `addresses` of the inputs, then of the outputs. Reads the inputs and writes the rows of an item; an output may be
  // an input. Not for two threads at once. True if all inputs are finite; false may also mean that finite ones have an
  // infinite sum.
  bool run(size_t item, void* const* addresses);

  // Whether all of `batch * event` values are finite.
  bool finite(const void* address) const;

  // Whether run() is over before another thread could use the time.
  bool quick() const { return batch_ * event_ < 4096; }

 private:
  std::shared_ptr<const Table> table_;
  int64_t batch_, event_;
  ScalarType dtype_;
  std::vector<int64_t> seeds_;
  uint64_t first_index_;
  std::vector<Problem> problems_;  // one a kind
};

}  // namespace torchdiff
