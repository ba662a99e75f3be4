// One call of affine or normal, checked and laid out, as the CPU and the CUDA loops take it.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>

#include "arguments.h"
#include "layout.h"

namespace torchdiff {

struct Problem {
  int64_t batch, event;  // samples, and elements of each
  int inputs, rows, draws;
  Layout layout;          // columns: the inputs, then the outputs
  bool wide;              // sums and noise are float64, because one of the inputs is
  const double* weights;  // (rows, inputs + draws) or (batch, rows, inputs + draws); null in normal, whose weight is 1
  bool weights_per_sample;
  const int64_t* seeds;
  bool seed_per_sample;
  uint64_t first_index;
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

inline Problem affine_problem(const std::vector<Tensor>& tensors, const std::vector<Tensor>& outputs,
                              const Tensor& weights, const Tensor& seeds, int64_t first_index, const Tensor& draws) {
  const std::vector<int64_t> shape(tensors[0].sizes().begin(), tensors[0].sizes().end());
  std::vector<Tensor> all = tensors;
  all.insert(all.end(), outputs.begin(), outputs.end());
  const bool by_sample = draws.numel() > 0 || weights.dim() == 3;
  const std::vector<Tensor> kept = {dense(weights), dense(seeds), dense(draws)};
  Problem problem{shape[0],
                  event_size(shape),
                  static_cast<int>(tensors.size()),
                  static_cast<int>(outputs.size()),
                  static_cast<int>(draws.numel()),
                  join(all, tensors.size(), by_sample ? logical_order(tensors[0]) : memory_order(tensors[0])),
                  false,
                  kept[0].const_data_ptr<double>(),
                  weights.dim() == 3,
                  kept[1].const_data_ptr<int64_t>(),
                  seeds.numel() != 1,
                  static_cast<uint64_t>(first_index),
                  kept[2].const_data_ptr<int64_t>(),
                  kept};
  for (const Tensor& tensor : tensors) problem.wide = problem.wide || tensor.scalar_type() == ScalarType::Double;
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
  const std::vector<int64_t> shape(tensors[0].sizes().begin(), tensors[0].sizes().end());
  const std::vector<Tensor> kept = {dense(seeds), dense(draws)};
  bool wide = false;
  for (const Tensor& tensor : tensors) wide = wide || tensor.scalar_type() == ScalarType::Double;
  return {shape[0],
          event_size(shape),
          static_cast<int>(tensors.size()),
          0,
          static_cast<int>(draws.numel()),
          join(tensors, tensors.size(), logical_order(tensors[0])),
          wide,
          nullptr,
          false,
          kept[0].const_data_ptr<int64_t>(),
          seeds.numel() != 1,
          static_cast<uint64_t>(first_index),
          kept[1].const_data_ptr<int64_t>(),
          kept};
}

inline Problem normal_problem(const Tensor& output, const Tensor& seeds, int64_t first_index, const Tensor& draw) {
  const std::vector<int64_t> shape(output.sizes().begin(), output.sizes().end());
  const std::vector<Tensor> kept = {dense(seeds), dense(draw)};
  const bool wide = output.scalar_type() == ScalarType::Double;
  return {shape[0],
          event_size(shape),
          0,
          1,
          1,
          join({output}, 0, logical_order(output)),
          wide,
          nullptr,
          false,
          kept[0].const_data_ptr<int64_t>(),
          seeds.numel() != 1,
          static_cast<uint64_t>(first_index),
          kept[1].const_data_ptr<int64_t>(),
          kept};
}

}  // namespace torchdiff
