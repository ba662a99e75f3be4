// The rows of a plan on contiguous CPU memory: what affine does for one item after the other, by addresses.
//
// torch's dispatcher takes 4 us for a call with a list of tensors, on a small batch ten times what the sums take. The
// caller vouches for the memory: that is torchdiff/program.py, which sends everything unusual through the op.
#pragma once

#include <cstdint>
#include <vector>

#include "problem.h"

namespace torchdiff {

class Program {
 public:
  // All tensors are (batch, event) of this dtype, contiguous; seeds: one, or one a sample.
  Program(int64_t batch, int64_t event, int dtype, std::vector<int64_t> seeds, int64_t first_index);

  // One more item: weights (rows, inputs + draws). Its number is how many there were before.
  void add(std::vector<double> weights, int inputs, int rows, std::vector<int64_t> draws);

  // How many addresses run() takes: inputs, then outputs.
  size_t width(size_t item) const;

  // Reads the inputs and writes the rows of an item; no output is an input. Not for two threads at once. True if all
  // inputs are finite; false may also mean that finite ones have an infinite sum.
  bool run(size_t item, void* const* addresses);

  // Whether all of `batch * event` values are finite.
  bool finite(const void* address) const;

 private:
  struct Item {
    std::vector<double> weights;
    std::vector<int64_t> draws;
    Problem problem;
  };

  int64_t batch_, event_;
  ScalarType dtype_;
  std::vector<int64_t> seeds_;
  uint64_t first_index_;
  std::vector<Item> items_;
};

}  // namespace torchdiff
