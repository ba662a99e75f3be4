// Four or eight neighbouring elements of any dtype as one or two accesses of 16 bytes; four halves as one of 8.
#pragma once

#include <torch/headeronly/core/ScalarType.h>

#include <type_traits>

#include "convert.h"

namespace torchdiff {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;
using torch::headeronly::ScalarType;

// Which dtypes a flat kernel may meet, and so how much a thread takes: eight halves, four of at most 32 bits, four of
// any.
enum class Path { kHalves, kNarrow, kWide };

template <Path kPath>
constexpr int kSpan = kPath == Path::kHalves ? 8 : 4;

// Every narrow dtype is a float32 exactly.
template <Path kPath>
using Value = std::conditional_t<kPath == Path::kWide, double, float>;

template <int kBytes>
struct alignas(kBytes) Bits {
  char byte[kBytes];
};

// The address is a multiple of kBytes. No __ldg: an output may be an input.
template <int kBytes>
TORCHDIFF_INLINE void read(const char* address, uint32_t* word) {
#if defined(__CUDA_ARCH__)
  if constexpr (kBytes == 16) {
    const uint4 value = *reinterpret_cast<const uint4*>(address);
    word[0] = value.x, word[1] = value.y, word[2] = value.z, word[3] = value.w;
  } else {
    const uint2 value = *reinterpret_cast<const uint2*>(address);
    word[0] = value.x, word[1] = value.y;
  }
#else
  const auto& source = *reinterpret_cast<const Bits<kBytes>*>(address);  // UBSAN sees an address that is not aligned
  memcpy(word, &source, kBytes);
#endif
}

template <int kBytes>
TORCHDIFF_INLINE void write(char* address, const uint32_t* word) {
#if defined(__CUDA_ARCH__)
  if constexpr (kBytes == 16) {
    *reinterpret_cast<uint4*>(address) = make_uint4(word[0], word[1], word[2], word[3]);
  } else {
    *reinterpret_cast<uint2*>(address) = make_uint2(word[0], word[1]);
  }
#else
  auto& target = *reinterpret_cast<Bits<kBytes>*>(address);
  memcpy(&target, word, kBytes);
#endif
}

// The elements of a thread as they lie in memory.
template <Path kPath>
struct Pack {
  uint32_t word[kPath == Path::kWide ? 8 : 4];
};

template <Path kPath>
TORCHDIFF_INLINE Pack<kPath> fetch(const char* data, ScalarType dtype, int64_t element) {
  Pack<kPath> pack;
  if (kPath == Path::kHalves) {
    read<16>(data + 2 * element, pack.word);
  } else if (dtype == ScalarType::Float) {
    read<16>(data + 4 * element, pack.word);
  } else if (kPath == Path::kWide && dtype == ScalarType::Double) {
    read<16>(data + 8 * element, pack.word);
    read<16>(data + 8 * element + 16, pack.word + (kPath == Path::kWide ? 4 : 0));
  } else {
    read<8>(data + 2 * element, pack.word);
  }
  return pack;
}

TORCHDIFF_INLINE uint16_t half_of(const uint32_t* word, int i) {
  return static_cast<uint16_t>(word[i / 2] >> (16 * (i % 2)));
}

template <Path kPath>
TORCHDIFF_INLINE void unpack(const Pack<kPath>& pack, ScalarType dtype, Value<kPath>* value) {
  constexpr int kCount = kSpan<kPath>;
  if (kPath != Path::kHalves && dtype == ScalarType::Float) {
    TORCHDIFF_UNROLL
    for (int i = 0; i < 4; ++i) value[i] = bits_as<float>(pack.word[i]);
  } else if (kPath == Path::kWide && dtype == ScalarType::Double) {
    TORCHDIFF_UNROLL
    for (int i = 0; i < (kPath == Path::kWide ? 4 : 0); ++i) {
      value[i] = bits_as<double>(pack.word[2 * i] | static_cast<uint64_t>(pack.word[2 * i + 1]) << 32);
    }
  } else if (dtype == ScalarType::Half) {
    TORCHDIFF_UNROLL
    for (int i = 0; i < kCount; ++i) value[i] = static_cast<float>(Half(half_of(pack.word, i), Half::from_bits()));
  } else {
    TORCHDIFF_UNROLL
    for (int i = 0; i < kCount; ++i) value[i] = bits_as<float>(static_cast<uint32_t>(half_of(pack.word, i)) << 16);
  }
}

TORCHDIFF_INLINE void put_halves(const uint16_t* half, int count, uint32_t* word) {
  TORCHDIFF_UNROLL
  for (int i = 0; i < count; i += 2) word[i / 2] = half[i] | static_cast<uint32_t>(half[i + 1]) << 16;
}

// Rounds the results of a thread to the dtype and writes them.
template <Path kPath>
TORCHDIFF_INLINE void put(char* data, ScalarType dtype, int64_t element, const Value<kPath>* value) {
  constexpr int kCount = kSpan<kPath>;
  uint32_t word[kPath == Path::kWide ? 8 : 4];
  uint16_t half[kCount];
  if (kPath != Path::kHalves && dtype == ScalarType::Float) {
    TORCHDIFF_UNROLL
    for (int i = 0; i < 4; ++i) word[i] = bits_as<uint32_t>(convert<float>(value[i]));
    return write<16>(data + 4 * element, word);
  }
  if (kPath == Path::kWide && dtype == ScalarType::Double) {
    TORCHDIFF_UNROLL
    for (int i = 0; i < (kPath == Path::kWide ? 4 : 0); ++i) {
      word[2 * i] = static_cast<uint32_t>(bits_as<uint64_t>(convert<double>(value[i])));
      word[2 * i + 1] = static_cast<uint32_t>(bits_as<uint64_t>(convert<double>(value[i])) >> 32);
    }
    write<16>(data + 8 * element, word);
    return write<16>(data + 8 * element + 16, word + (kPath == Path::kWide ? 4 : 0));
  }
  if (dtype == ScalarType::Half) {
    TORCHDIFF_UNROLL
    for (int i = 0; i < kCount; ++i) half[i] = convert<Half>(value[i]).x;
  } else {
    TORCHDIFF_UNROLL
    for (int i = 0; i < kCount; ++i) half[i] = convert<BFloat16>(value[i]).x;
  }
  put_halves(half, kCount, word);
  write<2 * kCount>(data + 2 * element, word);
}

// One element of any dtype, at any address that its dtype allows; T is float or double.
template <typename T>
TORCHDIFF_INLINE T fetch_one(const char* data, ScalarType dtype, uint64_t offset) {
  switch (dtype) {
    case ScalarType::Float:
      return convert<T>(reinterpret_cast<const float*>(data)[offset]);
    case ScalarType::Double:
      return convert<T>(reinterpret_cast<const double*>(data)[offset]);
    case ScalarType::Half:
      return convert<T>(reinterpret_cast<const Half*>(data)[offset]);
    default:
      return convert<T>(reinterpret_cast<const BFloat16*>(data)[offset]);
  }
}

template <typename T>
TORCHDIFF_INLINE void put_one(char* data, ScalarType dtype, uint64_t offset, T value) {
  switch (dtype) {
    case ScalarType::Float:
      reinterpret_cast<float*>(data)[offset] = convert<float>(value);
      break;
    case ScalarType::Double:
      reinterpret_cast<double*>(data)[offset] = convert<double>(value);
      break;
    case ScalarType::Half:
      reinterpret_cast<Half*>(data)[offset] = convert<Half>(value);
      break;
    default:
      reinterpret_cast<BFloat16*>(data)[offset] = convert<BFloat16>(value);
  }
}

}  // namespace torchdiff
