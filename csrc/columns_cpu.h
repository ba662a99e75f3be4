// Between tensors of any dtype and layout and the float or double buffers in which the CPU loops work.
#pragma once

#include <algorithm>

#include "convert.h"
#include "layout.h"

namespace torchdiff {

template <typename Body>
inline void with_type(ScalarType dtype, const Body& body) {
  switch (dtype) {
    case ScalarType::Float:
      return body(float{});
    case ScalarType::Double:
      return body(double{});
    case ScalarType::Half:
      return body(torch::headeronly::Half{});
    default:
      return body(torch::headeronly::BFloat16{});
  }
}

// Calls body(data, step, at, count) for the evenly spaced runs that make up elements [begin, begin + count).
template <typename T, typename Body>
inline void for_runs(const Column& column, const std::vector<int64_t>& sizes, int64_t begin, int count,
                     const Body& body) {
  T* data = reinterpret_cast<T*>(column.data);
  if (column.flat) return body(data + begin, int64_t{1}, 0, count);
  const int64_t inner = sizes.back();
  for (int done = 0; done < count;) {
    int64_t rest = (begin + done) / inner;
    const int64_t within = (begin + done) % inner;
    int64_t offset = within * column.strides.back();
    for (size_t d = sizes.size() - 1; d-- > 0; rest /= sizes[d]) offset += rest % sizes[d] * column.strides[d];
    const int run = static_cast<int>(std::min<int64_t>(count - done, inner - within));
    body(data + offset, column.strides.back(), done, run);
    done += run;
  }
}

template <typename T>
inline void load(const Column& column, const std::vector<int64_t>& sizes, int64_t begin, int count, T* values) {
  with_type(column.dtype, [&](auto zero) {
    using From = decltype(zero);
    for_runs<const From>(column, sizes, begin, count, [values](const From* data, int64_t step, int at, int run) {
      if (step == 1) {
        for (int i = 0; i < run; ++i) values[at + i] = convert<T>(data[i]);
      } else {
        for (int i = 0; i < run; ++i) values[at + i] = convert<T>(data[i * step]);
      }
    });
  });
}

template <typename T>
inline void store(const Column& column, const std::vector<int64_t>& sizes, int64_t begin, int count, const T* values) {
  with_type(column.dtype, [&](auto zero) {
    using To = decltype(zero);
    for_runs<To>(column, sizes, begin, count, [values](To* data, int64_t step, int at, int run) {
      if (step == 1) {
        for (int i = 0; i < run; ++i) data[i] = convert<To>(values[at + i]);
      } else {
        for (int i = 0; i < run; ++i) data[i * step] = convert<To>(values[at + i]);
      }
    });
  });
}

// The elements [begin, ...) of a column as they lie in memory, or null where they must be loaded first.
template <typename T>
inline T* in_place(const Column& column, int64_t begin) {
  constexpr ScalarType own = sizeof(T) == sizeof(double) ? ScalarType::Double : ScalarType::Float;
  return column.flat && column.dtype == own ? reinterpret_cast<T*>(column.data) + begin : nullptr;
}

}  // namespace torchdiff
