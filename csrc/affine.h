// The row sum and its rounding, columns c = n - 1, ..., 1 first and column 0, the state, last.
//
//   float32:  high = fma(high(w[c]), v[c], high),  low = fma(low(w[c]), v[c], low)     from 0, with w = high(w) +
//   low(w)
//             out = fma(high(w[0]), v[0], fma(low(w[0]), v[0], low) + high)
//   float64:  out = out + w[c] * v[c], product and sum rounded each by itself
//
// The second float32 part of a weight, and the state last, leave a float32 state at its rounding floor over a thousand
// steps, as float64 sums would: what is rounded before the last fma is smaller than the state. float64 sums would cost
// half a noisy step on AVX2 (a conversion is two operations) and more than the memory on GPUs with few float64 units.
#pragma once

#include "ieee.h"
#include "weight.h"

namespace torchdiff {

// A sum under way: of float32 columns in two parts, or of float64 columns.
template <typename Pack>
struct Sum {
  typename Pack::Real high, low;
};

template <typename Pack>
TORCHDIFF_INLINE void accumulate(Sum<Pack>& sum, Weight weight, typename Pack::Real value) {
  sum.high = Pack::fma(Pack::real(weight.high), value, sum.high);
  sum.low = Pack::fma(Pack::real(weight.low), value, sum.low);
}

template <typename Pack>
TORCHDIFF_INLINE typename Pack::Real finish(const Sum<Pack>& sum, Weight weight, typename Pack::Real state) {
  const auto low = Pack::fma(Pack::real(weight.low), state, sum.low);
  return Pack::fma(Pack::real(weight.high), state, Pack::add(low, sum.high));
}

TORCHDIFF_INLINE double accumulate(double sum, double weight, double value) { return add(sum, mul(weight, value)); }

}  // namespace torchdiff
