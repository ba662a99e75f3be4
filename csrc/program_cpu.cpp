#include "program.h"

#include <atomic>
#include <utility>

#include "affine_cpu.h"
#include "finite.h"

namespace torchdiff {
namespace {

template <typename Bits, Bits kExponent>
bool finite_memory(const void* address, int64_t count) {
  const Bits* values = static_cast<const Bits*>(address);
  std::atomic<bool> fine{true};
  torch::stable::parallel_for(0, count, int64_t{1} << 18, [&](int64_t first, int64_t last) {
    constexpr int64_t kPiece = 4096;
    for (int64_t begin = first; begin < last && fine; begin += kPiece) {
      if (!all_finite<Bits, kExponent>(values + begin, std::min(kPiece, last - begin))) fine = false;
    }
  });
  return fine;
}

}  // namespace

Program::Program(int64_t batch, int64_t event, int dtype, std::vector<int64_t> seeds, int64_t first_index)
    : batch_(batch),
      event_(event),
      dtype_(static_cast<ScalarType>(dtype)),
      seeds_(std::move(seeds)),
      first_index_(static_cast<uint64_t>(first_index)) {}

void Program::add(std::vector<double> weights, int inputs, int rows, std::vector<int64_t> draws) {
  Item item = {std::move(weights), std::move(draws), {}};
  Problem& problem = item.problem;
  const bool noisy = !item.draws.empty();
  problem.batch = noisy ? batch_ : 1;
  problem.event = noisy ? event_ : batch_ * event_;
  problem.inputs = inputs;
  problem.rows = rows;
  problem.draws = static_cast<int>(item.draws.size());
  problem.wide = dtype_ == ScalarType::Double;
  problem.weights_per_sample = false;
  problem.layout.sizes = {batch_ * event_};
  problem.layout.columns.assign(static_cast<size_t>(inputs + rows), Column{nullptr, dtype_, {1}, true});
  items_.push_back(std::move(item));
}

size_t Program::width(size_t item) const { return items_.at(item).problem.layout.columns.size(); }

bool Program::run(size_t item, void* const* addresses) {
  Item& mine = items_.at(item);
  Problem& problem = mine.problem;
  // set here, for the vectors have moved with their items since
  problem.weights = mine.weights.data();
  problem.streams = {seeds_.data(), seeds_.size() != 1, first_index_};
  problem.draw_numbers = mine.draws.data();
  for (size_t j = 0; j < problem.layout.columns.size(); ++j) {
    problem.layout.columns[j].data = static_cast<char*>(addresses[j]);
  }
  return torchdiff::run(problem, Outputs::fresh);
}

bool Program::finite(const void* address) const {
  const int64_t count = batch_ * event_;
  switch (dtype_) {
    case ScalarType::Float:
      return finite_memory<uint32_t, 0x7F800000>(address, count);
    case ScalarType::Double:
      return finite_memory<uint64_t, 0x7FF0000000000000>(address, count);
    case ScalarType::Half:
      return finite_memory<uint16_t, 0x7C00>(address, count);
    default:
      return finite_memory<uint16_t, 0x7F80>(address, count);
  }
}

}  // namespace torchdiff
