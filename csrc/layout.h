// Where the elements of several tensors of one shape lie: the shape with joinable dimensions joined, and strides.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <vector>

namespace torchdiff {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

struct Column {
  char* data;
  ScalarType dtype;
  std::vector<int64_t> strides;  // one a joint dimension, in elements
  bool flat;                     // element i of the row-major order lies at data[i]
};

struct Layout {
  std::vector<int64_t> sizes;  // joint dimensions, outermost first
  std::vector<Column> columns;
};

// The dimensions in the order given, outermost first. One joins the one before where every tensor steps over both as
// over one: the common contiguous case becomes one dimension. The first `inputs` tensors are only read.
inline Layout join(const std::vector<Tensor>& tensors, size_t inputs, const std::vector<size_t>& order) {
  Layout layout;
  for (size_t j = 0; j < tensors.size(); ++j) {
    // const_data_ptr: asking for a mutable one would copy a lazily cloned input
    void* data = j < inputs ? const_cast<void*>(tensors[j].const_data_ptr()) : tensors[j].mutable_data_ptr();
    layout.columns.push_back({static_cast<char*>(data), tensors[j].scalar_type(), {}, false});
  }
  const auto sizes = tensors[0].sizes();
  for (const size_t d : order) {
    if (sizes[d] == 1) continue;
    bool joins = !layout.sizes.empty();
    for (size_t j = 0; j < tensors.size() && joins; ++j) {
      joins = layout.columns[j].strides.back() == sizes[d] * tensors[j].strides()[d];
    }
    if (joins) {
      layout.sizes.back() *= sizes[d];
    } else {
      layout.sizes.push_back(sizes[d]);
    }
    for (size_t j = 0; j < tensors.size(); ++j) {
      auto& strides = layout.columns[j].strides;
      if (joins) strides.pop_back();
      strides.push_back(tensors[j].strides()[d]);
    }
  }
  for (Column& column : layout.columns) {
    int64_t expected = 1;
    column.flat = true;
    for (size_t d = layout.sizes.size(); d-- > 0;) {
      column.flat = column.flat && column.strides[d] == expected;
      expected *= layout.sizes[d];
    }
  }
  return layout;
}

}  // namespace torchdiff
