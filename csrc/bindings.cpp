// The host side of torchdiff._C: how it was built, and the arithmetic by itself, for the tests.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "memory_cpu.h"
#include "normal.h"
#include "program.h"
#include "simd_cpu.h"
#include "walk_python.h"

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
  info["kept_memory"] = most_kept();
  return info;
}

const Simd& loops(const std::string& level) {
  if (level.empty()) return best();
  if (level == portable().name) return portable();
  if (avx2() != nullptr && level == avx2()->name) return *avx2();
  if (avx512() != nullptr && level == avx512()->name) return *avx512();
  throw std::invalid_argument("simd level '" + level + "' is not one that this machine runs; see simd_levels()");
}

py::list simd_levels() {
  py::list names;
  names.append(portable().name);
  if (avx2() != nullptr) names.append(avx2()->name);
  if (avx512() != nullptr) names.append(avx512()->name);
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

// Of each word: its radius, and the two normals of radius 1 that it gives as the second word of a pair.
py::tuple maps32(const WordArray& words, const std::string& level) {
  const py::ssize_t count = words.size();
  if (count % kGroup != 0) throw std::invalid_argument("maps32: expected a multiple of 16 words");
  py::array_t<float> length(count), first(count), second(count);
  const uint32_t* in = words.data();
  float *a = length.mutable_data(), *b = first.mutable_data(), *c = second.mutable_data();
  const Simd& simd = loops(level);
  {
    const py::gil_scoped_release unlocked;
    for (py::ssize_t i = 0; i < count; i += kElements) {
      const int part = static_cast<int>(std::min<py::ssize_t>(kElements, count - i));
      simd.maps32(in + i, part, a + i, b + i, c + i);
    }
  }
  return py::make_tuple(length, first, second);
}

py::tuple maps64(const WordArray& words) {
  const py::ssize_t count = words.size();
  py::array_t<double> length(count), first(count), second(count);
  for (py::ssize_t i = 0; i < count; ++i) {
    length.mutable_data()[i] = radius64(words.data()[i]);
    direction64(0, words.data()[i], first.mutable_data()[i], second.mutable_data()[i]);
  }
  return py::make_tuple(length, first, second);
}

// The normals of some blocks of a sample, by the loops of one simd level: as blocks of their own, or as a run.
template <typename T>
py::array_t<T> block_normals(uint64_t seed, uint64_t sample, uint64_t draw, uint32_t first_block, int blocks,
                             const std::string& level, bool run) {
  if (blocks < 0 || blocks > kBlocks) {
    throw std::invalid_argument("normals: blocks is " + std::to_string(blocks) + "; expected 0 to " +
                                std::to_string(kBlocks));
  }
  const Simd& simd = loops(level);
  std::vector<T> values(kElements + 4 * kGroup);
  if constexpr (std::is_same_v<T, float>) {
    if (run) {
      simd.run32({seed, sample, first_block}, draw, blocks, values.data());
      return py::array_t<T>(4 * blocks, values.data());
    }
  }
  Counters counters = {};
  for (int i = 0; i < blocks; ++i) {
    counters.seed[i] = seed;
    counters.sample[i] = sample;
    counters.block[i] = first_block + static_cast<uint32_t>(i);
  }
  const int whole = up_to_group(blocks);
  if constexpr (std::is_same_v<T, float>) {
    simd.normals32(counters, draw, whole, values.data());
  } else {
    simd.normals64(counters, draw, whole, values.data());
  }
  return py::array_t<T>(4 * blocks, values.data());
}

// The float32 row sum of one simd level: columns (n, count), weights (n) float64.
py::array_t<float> row_sum(const py::array_t<float, py::array::c_style | py::array::forcecast>& columns,
                           const py::array_t<double, py::array::c_style | py::array::forcecast>& weights,
                           const std::string& level) {
  if (columns.ndim() != 2 || weights.ndim() != 1 || weights.shape(0) != columns.shape(0) || weights.shape(0) == 0) {
    throw std::invalid_argument("row_sum: expected columns (n, count) and weights (n,), n > 0");
  }
  std::vector<const float*> pointers;
  std::vector<Weight> parts;
  for (py::ssize_t c = 0; c < columns.shape(0); ++c) {
    pointers.push_back(columns.data() + c * columns.shape(1));
    parts.push_back(split(weights.at(c)));
  }
  py::array_t<float> out(columns.shape(1));
  loops(level).sum32({pointers.data(), parts.data(), static_cast<int>(parts.size())},
                     static_cast<int>(columns.shape(1)), out.mutable_data());
  return out;
}

// The lanes (n,) of one simd level after the squares of n blocks of values (4 n,) are added.
template <typename T>
py::array_t<double> block_squares(const py::array_t<T, py::array::c_style>& values,
                                  const py::array_t<double, py::array::c_style>& lanes, const std::string& level) {
  if (values.ndim() != 1 || lanes.ndim() != 1 || values.shape(0) != 4 * lanes.shape(0)) {
    throw std::invalid_argument("squares: expected values (4 n,) and lanes (n,)");
  }
  py::array_t<double> sums(lanes.shape(0), lanes.data());
  const int blocks = static_cast<int>(lanes.shape(0));
  if constexpr (std::is_same_v<T, float>) {
    loops(level).squares32(values.data(), blocks, sums.mutable_data());
  } else {
    loops(level).squares64(values.data(), blocks, sums.mutable_data());
  }
  return sums;
}

std::shared_ptr<Walk> make_walk(std::shared_ptr<Program> program, std::vector<int64_t> shape, int dtype,
                                const py::object& times, bool wide, std::vector<double> labels, const py::object& fresh,
                                bool rewrite) {
  if (shape.empty()) throw std::invalid_argument("Walk: a state has the dimension of its samples at least");
  return std::make_shared<Walk>(std::move(program), std::move(shape), dtype, times.ptr(), wide, std::move(labels),
                                fresh.ptr(), rewrite);
}

py::object walk_entries(std::shared_ptr<Walk> walk) {
  PyObject* made = entries(std::move(walk));
  if (made == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

void add_item(Table& table, std::vector<double> weights, int rows, std::vector<int64_t> draws, std::vector<int> feed,
              std::vector<int> reads, std::vector<int> others, std::vector<int> keep, std::vector<int> spent) {
  const int inputs = static_cast<int>(reads.size());
  if (inputs > kMostTensors || rows > kMostRows || static_cast<int64_t>(draws.size()) > kMostDraws) {
    throw std::invalid_argument("Table.add: an item reads " + std::to_string(inputs) + " tensors, writes " +
                                std::to_string(rows) + ", draws " + std::to_string(draws.size()));
  }
  table.add(std::move(weights), inputs, rows, std::move(draws),
            {std::move(feed), std::move(reads), std::move(others), std::move(keep), std::move(spent)});
}

bool program_finite(const Program& program, uint64_t address) {
  const py::gil_scoped_release unlocked;
  return program.finite(reinterpret_cast<const void*>(address));
}

}  // namespace
}  // namespace torchdiff

PYBIND11_MODULE(_C, m) {
  using namespace torchdiff;
  m.doc() = "torchdiff's compiled side: importing it registers torch.ops.torchdiff.affine, .norms and .normal.";
  m.def("build_info", &build_info, "noise version, torch headers, compiler, whether CUDA is in, simd level in use");
  m.def("simd_levels", &simd_levels, "simd levels that this machine runs");
  m.def("philox", &philox_rows, py::arg("counter"), py::arg("key"), py::arg("rounds") = 10,
        "(n, 4) counters and (n, 2) keys, uint32, to (n, 4) words");
  m.def("maps32", &maps32, py::arg("words"), py::arg("simd") = "",
        "float32 radius and both normals of radius 1 of each uint32 word, a multiple of 16 of them");
  m.def("maps64", &maps64, py::arg("words"), "float64 radius and both normals of radius 1 of each uint32 word");
  m.def("normals32", &block_normals<float>, py::arg("seed"), py::arg("sample") = 0, py::arg("draw") = 0,
        py::arg("first_block") = 0, py::arg("blocks") = kBlocks, py::arg("simd") = "", py::arg("run") = false,
        "float32 normals of up to 256 blocks of one sample; run: by the loop for blocks in sequence");
  m.def("normals64", &block_normals<double>, py::arg("seed"), py::arg("sample") = 0, py::arg("draw") = 0,
        py::arg("first_block") = 0, py::arg("blocks") = kBlocks, py::arg("simd") = "", py::arg("run") = false,
        "float64 normals of up to 256 blocks of one sample");
  m.def("row_sum", &row_sum, py::arg("columns"), py::arg("weights"), py::arg("simd") = "",
        "float32 row sum of columns (n, count) with weights (n,)");
  m.def("squares", &block_squares<double>, py::arg("values").noconvert(), py::arg("lanes"), py::arg("simd") = "",
        "lanes (n,) plus the sums of squares of n blocks of values (4 n,)");
  m.def("squares", &block_squares<float>, py::arg("values").noconvert(), py::arg("lanes"), py::arg("simd") = "");
  m.attr("kept_least") = kKeptLeast;
  m.def("release_memory", &release_memory, py::call_guard<py::gil_scoped_release>(),
        "returns the memory of freed outputs to the system; how many bytes that were");
  py::class_<Table, std::shared_ptr<Table>>(m, "Table", "The weights of a plan; see program.h")
      .def(py::init<>())
      .def("add", &add_item, py::arg("weights"), py::arg("rows"), py::arg("draws"), py::arg("feed"), py::arg("reads"),
           py::arg("others"), py::arg("keep"), py::arg("spent"));
  py::class_<Program, std::shared_ptr<Program>>(
      m, "Program", "The rows of a plan on contiguous CPU memory, by addresses; see program.h")
      .def(py::init<std::shared_ptr<Table>, int64_t, int64_t, int, std::vector<int64_t>, int64_t>(), py::arg("table"),
           py::arg("batch"), py::arg("event"), py::arg("dtype"), py::arg("seeds"), py::arg("first_index"))
      .def("finite", &program_finite, py::arg("address"));
  m.def("has_exchange", &has_exchange, "whether torch has DLPack's exchange functions, which a Walk needs");
  py::class_<Walk, std::shared_ptr<Walk>>(m, "Walk", "The items of a plan on Python tensors; see walk_python.h")
      .def(py::init(&make_walk), py::arg("program"), py::arg("shape"), py::arg("dtype"), py::arg("times"),
           py::arg("wide"), py::arg("labels"), py::arg("fresh"), py::arg("rewrite"))
      .def("entries", &walk_entries, "(step, move, rows, times)");
}
