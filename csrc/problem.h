// One call of affine or normal, checked and laid out, as the CPU and the CUDA loops take it.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>

#include "arguments.h"
#include "layout.h"
#include "streams.h"

namespace torchdiff {

struct Problem {
  int64_t batch, event;  // samples, and elements of each
  int inputs, rows, draws;
  Layout layout;          // columns: the inputs, then the outputs
  bool wide;              // sums and noise are float64, because one of the inputs is
  const double* weights;  // (rows, inputs + draws) or (batch, rows, inputs + draws); null in normal, whose weight is 1
  bool weights_per_sample;
  Streams streams;
  const int64_t* draw_numbers;
  std::vector<Tensor> kept;  // what the pointers point into
};

inline int64_t event_size(const std::vector<int64_t>& shape) {
  int64_t event = 1;
  for (size_t d = 1; d < shape.size(); ++d) event *= shape[d];
  return event;
}

inline Tensor dense(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

// The dimensions as they are, outermost first.
inline std::vector<size_t> logical_order(const Tensor& tensor) {
  std::vector<size_t> order(tensor.dim());
  for (size_t d = 0; d < order.size(); ++d) order[d] = d;
  return order;
}

// The dimensions as they lie in the memory of a tensor: for rows that depend on no index, any order of elements will
// do.
inline std::vector<size_t> memory_order(const Tensor& tensor) {
  std::vector<size_t> order = logical_order(tensor);
  const auto strides = tensor.strides();
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return strides[a] > strides[b]; });
  return order;
}

inline Streams streams_of(const Tensor& dense_seeds, int64_t first_index) {
  return {dense_seeds.const_data_ptr<int64_t>(), dense_seeds.numel() != 1, static_cast<uint64_t>(first_index)};
}

// What all ops have in common: `inputs` tensors, then the outputs; no weights yet. Noise is float64 where an input is,
// or where without inputs the output is.
inline Problem noise_problem(const std::vector<Tensor>& tensors, size_t inputs, const std::vector<size_t>& order,
                             const Tensor& seeds, int64_t first_index, const Tensor& draws) {
  const std::vector<int64_t> shape(tensors[0].sizes().begin(), tensors[0].sizes().end());
  Problem problem = {};
  problem.batch = shape[0];
  problem.event = event_size(shape);
  problem.inputs = static_cast<int>(inputs);
  problem.rows = static_cast<int>(tensors.size() - inputs);
  problem.draws = static_cast<int>(draws.numel());
  problem.layout = join(tensors, inputs, order);
  for (size_t j = 0; j < std::max<size_t>(inputs, 1); ++j) {
    problem.wide = problem.wide || tensors[j].scalar_type() == ScalarType::Double;
  }
  problem.kept = {dense(seeds), dense(draws)};
  problem.streams = streams_of(problem.kept[0], first_index);
  problem.draw_numbers = problem.kept[1].const_data_ptr<int64_t>();
  return problem;
}

inline Problem affine_problem(const std::vector<Tensor>& tensors, const std::vector<Tensor>& outputs,
                              const Tensor& weights, const Tensor& seeds, int64_t first_index, const Tensor& draws) {
  std::vector<Tensor> all = tensors;
  all.insert(all.end(), outputs.begin(), outputs.end());
  const bool by_sample = draws.numel() > 0 || weights.dim() == 3;
  const auto order = by_sample ? logical_order(tensors[0]) : memory_order(tensors[0]);
  Problem problem = noise_problem(all, tensors.size(), order, seeds, first_index, draws);
  problem.kept.push_back(dense(weights));
  problem.weights = problem.kept.back().const_data_ptr<double>();
  problem.weights_per_sample = weights.dim() == 3;
  if (!by_sample) {
    // Nothing depends on the sample: one long sample spares the padding of each to whole blocks of four.
    problem.event *= problem.batch;
    problem.batch = 1;
  }
  return problem;
}

// Without outputs: norms are written by the row, whatever the layout of the tensors.
inline Problem norms_problem(const std::vector<Tensor>& tensors, const Tensor& seeds, int64_t first_index,
                             const Tensor& draws) {
  return noise_problem(tensors, tensors.size(), logical_order(tensors[0]), seeds, first_index, draws);
}

inline Problem normal_problem(const Tensor& output, const Tensor& seeds, int64_t first_index, const Tensor& draw) {
  return noise_problem({output}, 0, logical_order(output), seeds, first_index, draw);
}

}  // namespace torchdiff
