#include "brownian_levels.h"

#include <string>

#include "convert.h"

namespace torchdiff {
namespace {

// Elements do not read each other, in place or not: without the pragma gcc guards each loop by a dozen comparisons of
// addresses, or gives up.
#define TORCHDIFF_EACH _Pragma("GCC ivdep") for (int i = 0; i < count; ++i)

template <typename T>
TORCHDIFF_INLINE void left(const Level& level, const T* z, const T* n, int count, const Cells& from, Cells& to) {
  TORCHDIFF_EACH {
    const Cell half = first_half(from.w[i], from.h[i], mul(level.spread_z, convert<double>(z[i])),
                                 mul(level.spread_n, convert<double>(n[i])));
    to.w[i] = half.w;
    to.h[i] = half.h;
  }
  if (&from == &to) return;
  TORCHDIFF_EACH to.start[i] = from.start[i];
  if (!level.integral) return;
  TORCHDIFF_EACH to.area[i] = from.area[i];
}

template <typename T, bool INTEGRAL>
TORCHDIFF_INLINE void right(const Level& level, const T* z, const T* n, int count, const Cells& from, Cells& to) {
  TORCHDIFF_EACH {
    const double w = from.w[i], h = from.h[i];
    const double scaled_z = mul(level.spread_z, convert<double>(z[i])),
                 scaled_n = mul(level.spread_n, convert<double>(n[i]));
    const Cell half = second_half(w, h, scaled_z, scaled_n);
    const Point start = {from.start[i], INTEGRAL ? from.area[i] : 0.0};
    const Point middle = beyond(start, first_half(w, h, scaled_z, scaled_n), level.length);
    to.start[i] = middle.w;
    if (INTEGRAL) to.area[i] = middle.area;
    to.w[i] = half.w;
    to.h[i] = half.h;
  }
}

template <typename T, bool INTEGRAL>
TORCHDIFF_INLINE void stop(const Level& level, const T* z, const T* n, int count, const Cells& from, Cells& to) {
  TORCHDIFF_EACH {
    const double scaled_n = INTEGRAL ? mul(level.spread_n, convert<double>(n[i])) : 0.0;
    const Cell half = first_half(from.w[i], from.h[i], mul(level.spread_z, convert<double>(z[i])), scaled_n);
    const Point start = {from.start[i], INTEGRAL ? from.area[i] : 0.0};
    const Point middle = beyond(start, half, level.length);
    to.start[i] = middle.w;
    if (INTEGRAL) to.area[i] = middle.area;
  }
}

template <typename T>
TORCHDIFF_INLINE void step(const Level& level, const T* z, const T* n, int count, const Cells& from, Cells& to) {
  if (level.move == Move::left) return left<T>(level, z, n, count, from, to);
  if (level.move == Move::right && level.integral) return right<T, true>(level, z, n, count, from, to);
  if (level.move == Move::right) return right<T, false>(level, z, n, count, from, to);
  if (level.integral) return stop<T, true>(level, z, n, count, from, to);
  return stop<T, false>(level, z, n, count, from, to);
}

TORCHDIFF_INLINE void differences(const Cells& s, const Cells& t, bool integral, double length, double horizon,
                                  int count, double* w, double* area) {
  TORCHDIFF_EACH w[i] = sub(t.start[i], s.start[i]);
  if (!integral) return;
  TORCHDIFF_EACH { area[i] = mul(horizon, area_between({s.start[i], s.area[i]}, {t.start[i], t.area[i]}, length)); }
}

// As in simd_cpu.cpp: only functions with the attribute use the instructions that it names.
#define TORCHDIFF_LEVELS(name, attribute)                                                                          \
  attribute void step32_##name(const Level& level, const float* z, const float* n, int count, const Cells& from,   \
                               Cells& to) {                                                                        \
    step<float>(level, z, n, count, from, to);                                                                     \
  }                                                                                                                \
  attribute void step64_##name(const Level& level, const double* z, const double* n, int count, const Cells& from, \
                               Cells& to) {                                                                        \
    step<double>(level, z, n, count, from, to);                                                                    \
  }                                                                                                                \
  attribute void between_##name(const Cells& s, const Cells& t, bool integral, double length, double horizon,      \
                                int count, double* w, double* area) {                                              \
    differences(s, t, integral, length, horizon, count, w, area);                                                  \
  }                                                                                                                \
  constexpr Levels name##_functions = {#name, step32_##name, step64_##name, between_##name};

TORCHDIFF_LEVELS(portable, )
#if defined(__x86_64__)
TORCHDIFF_LEVELS(avx2, __attribute__((target("avx2,fma"))))
// without the preference gcc keeps to 256 bits
TORCHDIFF_LEVELS(avx512, __attribute__((target("avx512f,avx512vl,avx512dq,prefer-vector-width=512"))))
#endif

}  // namespace

const Levels& portable_levels() { return portable_functions; }

const Levels* avx2_levels() {
#if defined(__x86_64__)
  static const bool supported = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return supported ? &avx2_functions : nullptr;
#else
  return nullptr;
#endif
}

const Levels* avx512_levels() {
#if defined(__x86_64__)
  static const bool supported =
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  return supported ? &avx512_functions : nullptr;
#else
  return nullptr;
#endif
}

const Levels& best_levels() {
  const std::string name = best().name;
  if (name == "avx512" && avx512_levels() != nullptr) return *avx512_levels();
  return name != "portable" && avx2_levels() != nullptr ? *avx2_levels() : portable_levels();
}

}  // namespace torchdiff
