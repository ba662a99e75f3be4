// What the ops demand of their arguments. The stable dispatcher checks nothing: tensors on two devices would reach a
// kernel as they are. torchdiff/ops/arguments.py says the same in Python, in the same words.
#pragma once

#include <torch/csrc/stable/device.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace torchdiff {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kMostRows = 8, kMostTensors = 32, kMostDraws = 8;
constexpr int64_t kLargestEvent = int64_t{1} << 34;  // elements of one sample: the counter holds 2^32 blocks of four

void check_affine(const std::vector<Tensor>& tensors, const Tensor& weights, const Tensor& seeds, int64_t first_index,
                  const Tensor& draws);
void check_out(const std::vector<Tensor>& tensors, int64_t rows, const std::vector<Tensor>& out);
void check_norms(const std::vector<Tensor>& tensors, const Tensor& seeds, int64_t first_index, const Tensor& draws);
void check_normal(const std::vector<int64_t>& shape, const Tensor& seeds, int64_t first_index, const Tensor& draw,
                  ScalarType dtype);
void check_normal_out(const Tensor& seeds, int64_t first_index, const Tensor& draw, const Tensor& out);

// Whether an output is also an input; check_out has made sure that it is the same tensor then, element for element.
bool share_memory(const std::vector<Tensor>& tensors, const std::vector<Tensor>& out);
// Reads no value of `times`, which stay on the CPU whatever the device: the kernels' launches carry them.
void check_brownian(const std::vector<int64_t>& shape, const Tensor& seeds, int64_t first_index, int64_t path,
                    const Tensor& times, double horizon, ScalarType dtype);

}  // namespace torchdiff
