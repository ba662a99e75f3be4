// The host side of torchdiff._C: how it was built, and the arithmetic by itself, for the tests.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <torch/headeronly/version.h>

#include <stdexcept>
#include <string>

#include "normal.h"
#include "simd_cpu.h"

namespace py = pybind11;

namespace torchdiff {
namespace {

using WordArray = py::array_t<uint32_t, py::array::c_style | py::array::forcecast>;

py::dict build_info() {
  py::dict info;
  info["noise_version"] = kNoiseVersion;
  info["torch"] = std::string(TORCH_VERSION);  // whose headers it was compiled with; it runs with 2.10 and later
  info["compiler"] = std::string(__VERSION__);
#if defined(TORCHDIFF_CUDA)
  info["cuda"] = true;
#else
  info["cuda"] = false;
#endif
  info["simd"] = std::string(best().name);
  return info;
}

const Simd& loops(const std::string& level) {
  if (level.empty()) return best();
  if (level == portable().name) return portable();
  if (avx2() != nullptr && level == avx2()->name) return *avx2();
  throw std::invalid_argument("simd level '" + level + "' is not one that this machine runs; see simd_levels()");
}

py::list simd_levels() {
  py::list names;
  names.append(portable().name);
  if (avx2() != nullptr) names.append(avx2()->name);
  return names;
}

py::array_t<uint32_t> philox_rows(const WordArray& counter, const WordArray& key, int rounds) {
  if (counter.ndim() != 2 || counter.shape(1) != 4 || key.ndim() != 2 || key.shape(1) != 2 ||
      counter.shape(0) != key.shape(0)) {
    throw std::invalid_argument("philox: expected counter (n, 4) and key (n, 2), words of 32 bits");
  }
  py::array_t<uint32_t> result({counter.shape(0), py::ssize_t{4}});
  for (py::ssize_t i = 0; i < counter.shape(0); ++i) {
    const Words words = philox({{counter.at(i, 0), counter.at(i, 1), counter.at(i, 2), counter.at(i, 3)}}, key.at(i, 0),
                               key.at(i, 1), rounds);
    for (int lane = 0; lane < 4; ++lane) result.mutable_at(i, lane) = words.at[lane];
  }
  return result;
}

// radius, cos and sin of each word, by the scalar functions.
template <typename T>
py::tuple maps(const WordArray& words) {
  const py::ssize_t count = words.size();
  py::array_t<T> length(count), cos(count), sin(count);
  for (py::ssize_t i = 0; i < count; ++i) {
    const uint32_t r = words.data()[i];
    const CosSin<T> direction = angle<T>(r);
    length.mutable_data()[i] = radius<T>(r);
    cos.mutable_data()[i] = direction.cos;
    sin.mutable_data()[i] = direction.sin;
  }
  return py::make_tuple(length, cos, sin);
}

// The normals of the first `blocks` blocks of a sample, by the loops of one simd level.
template <typename T>
py::array_t<T> block_normals(uint64_t seed, uint64_t sample, uint64_t draw, uint32_t first_block, int blocks,
                             const std::string& level) {
  if (blocks < 0 || blocks > kBlocks) {
    throw std::invalid_argument("normals: blocks is " + std::to_string(blocks) + "; expected 0 to " +
                                std::to_string(kBlocks));
  }
  Counters counters = {};
  for (int i = 0; i < blocks; ++i) {
    counters.seed[i] = seed;
    counters.sample[i] = sample;
    counters.block[i] = first_block + static_cast<uint32_t>(i);
  }
  T values[kElements];
  const Simd& simd = loops(level);
  if constexpr (sizeof(T) == sizeof(float)) {
    simd.normals32(counters, draw, (blocks + 7) / 8 * 8, values);
  } else {
    simd.normals64(counters, draw, (blocks + 7) / 8 * 8, values);
  }
  return py::array_t<T>(4 * blocks, values);
}

}  // namespace
}  // namespace torchdiff

PYBIND11_MODULE(_C, m) {
  using namespace torchdiff;
  m.doc() = "torchdiff's compiled side: importing it registers torch.ops.torchdiff.affine and .normal.";
  m.def("build_info", &build_info, "noise version, torch headers, compiler, whether CUDA is in, simd level in use");
  m.def("simd_levels", &simd_levels, "simd levels that this machine runs");
  m.def("philox", &philox_rows, py::arg("counter"), py::arg("key"), py::arg("rounds") = 10,
        "(n, 4) counters and (n, 2) keys, uint32, to (n, 4) words");
  m.def("maps32", &maps<float>, py::arg("words"), "float32 radius, cos and sin of each uint32 word");
  m.def("maps64", &maps<double>, py::arg("words"), "float64 radius, cos and sin of each uint32 word");
  m.def("normals32", &block_normals<float>, py::arg("seed"), py::arg("sample") = 0, py::arg("draw") = 0,
        py::arg("first_block") = 0, py::arg("blocks") = kBlocks, py::arg("simd") = "",
        "float32 normals of up to 64 blocks of one sample");
  m.def("normals64", &block_normals<double>, py::arg("seed"), py::arg("sample") = 0, py::arg("draw") = 0,
        py::arg("first_block") = 0, py::arg("blocks") = kBlocks, py::arg("simd") = "",
        "float64 normals of up to 64 blocks of one sample");
}
