// Packs side by side under the names of One (ieee.h): each operation on all of them before the next.
//
// The map of normal.h is one chain, some 80 cycles deep, and a core looks about 100 operations ahead: one pack at a
// time leaves it idle for a third of the time.
#pragma once

#include "ieee.h"

namespace torchdiff {

template <typename Pack, int kCount>
struct Several {
  struct Real {
    typename Pack::Real at[kCount];
  };
  struct Bits {
    typename Pack::Bits at[kCount];
  };
  struct Mask {
    typename Pack::Mask at[kCount];
  };

  template <typename Out, auto kOperation, typename... In>
  static TORCHDIFF_INLINE Out each(const In&... in) {
    Out out;
    for (int k = 0; k < kCount; ++k) out.at[k] = kOperation(in.at[k]...);
    return out;
  }
  template <typename Out, auto kOperation, typename Value>
  static TORCHDIFF_INLINE Out same(Value value) {
    Out out;
    for (int k = 0; k < kCount; ++k) out.at[k] = kOperation(value);
    return out;
  }

  static TORCHDIFF_INLINE Real real(float a) { return same<Real, Pack::real>(a); }
  static TORCHDIFF_INLINE Real fma(Real a, Real b, Real c) { return each<Real, Pack::fma>(a, b, c); }
  static TORCHDIFF_INLINE Real mul(Real a, Real b) { return each<Real, Pack::mul>(a, b); }
  static TORCHDIFF_INLINE Real add(Real a, Real b) { return each<Real, Pack::add>(a, b); }
  static TORCHDIFF_INLINE Real sub(Real a, Real b) { return each<Real, Pack::sub>(a, b); }
  static TORCHDIFF_INLINE Real square_root(Real a) { return each<Real, Pack::square_root>(a); }
  static TORCHDIFF_INLINE Real from_int(Bits a) { return each<Real, Pack::from_int>(a); }
  static TORCHDIFF_INLINE Real select(Mask m, Real a, Real b) { return each<Real, Pack::select>(m, a, b); }
  static TORCHDIFF_INLINE Real keep(Mask m, Real a) { return each<Real, Pack::keep>(m, a); }

  static TORCHDIFF_INLINE Bits bits(uint32_t a) { return same<Bits, Pack::bits>(a); }
  static TORCHDIFF_INLINE Bits bits_of(Real a) { return each<Bits, Pack::bits_of>(a); }
  static TORCHDIFF_INLINE Real real_of(Bits a) { return each<Real, Pack::real_of>(a); }
  template <int n>
  static TORCHDIFF_INLINE Bits left(Bits a) {
    return each<Bits, Pack::template left<n>>(a);
  }
  template <int n>
  static TORCHDIFF_INLINE Bits right(Bits a) {
    return each<Bits, Pack::template right<n>>(a);
  }
  template <int n>
  static TORCHDIFF_INLINE Bits right_signed(Bits a) {
    return each<Bits, Pack::template right_signed<n>>(a);
  }
  static TORCHDIFF_INLINE Bits minus(Bits a, Bits b) { return each<Bits, Pack::minus>(a, b); }
  static TORCHDIFF_INLINE Bits both(Bits a, Bits b) { return each<Bits, Pack::both>(a, b); }
  static TORCHDIFF_INLINE Bits either(Bits a, Bits b) { return each<Bits, Pack::either>(a, b); }
  static TORCHDIFF_INLINE Bits differ(Bits a, Bits b) { return each<Bits, Pack::differ>(a, b); }
  static TORCHDIFF_INLINE Bits differ_where(Mask m, Bits a, Bits b) { return each<Bits, Pack::differ_where>(m, a, b); }
  static TORCHDIFF_INLINE Mask less(Bits a, Bits b) { return each<Mask, Pack::less>(a, b); }
  static TORCHDIFF_INLINE Mask negative(Bits a) { return each<Mask, Pack::negative>(a); }
  static TORCHDIFF_INLINE Mask opposite(Mask m) { return each<Mask, Pack::opposite>(m); }
};

}  // namespace torchdiff
