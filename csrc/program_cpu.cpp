#include "program.h"

#include <algorithm>
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

void Table::add(std::vector<double> weights, int inputs, int rows, std::vector<int64_t> draws, Slots slots) {
  size_t kind = 0;
  for (; kind < kinds_.size(); ++kind) {
    const Item& known = items_[kinds_[kind]];
    if (known.inputs == inputs && known.rows == rows && known.draws.size() == draws.size()) break;
  }
  if (kind == kinds_.size()) kinds_.push_back(items_.size());
  items_.push_back({std::move(weights), std::move(draws), inputs, rows, kind, std::move(slots)});
}

Program::Program(std::shared_ptr<const Table> table, int64_t batch, int64_t event, int dtype,
                 std::vector<int64_t> seeds, int64_t first_index)
    : table_(std::move(table)),
      batch_(batch),
      event_(event),
      dtype_(static_cast<ScalarType>(dtype)),
      seeds_(std::move(seeds)),
      first_index_(static_cast<uint64_t>(first_index)) {
  for (const size_t number : table_->kinds()) {
    const Table::Item& item = table_->item(number);
    Problem problem = {};
    const bool noisy = !item.draws.empty();
    problem.batch = noisy ? batch_ : 1;
    problem.event = noisy ? event_ : batch_ * event_;
    problem.inputs = item.inputs;
    problem.rows = item.rows;
    problem.draws = static_cast<int>(item.draws.size());
    problem.wide = dtype_ == ScalarType::Double;
    problem.streams = {seeds_.data(), seeds_.size() != 1, first_index_};
    problem.layout.sizes = {batch_ * event_};
    problem.layout.columns.assign(static_cast<size_t>(item.inputs + item.rows), Column{nullptr, dtype_, {1}, true});
    problems_.push_back(std::move(problem));
  }
}

bool Program::run(size_t number, void* const* addresses) {
  const Table::Item& item = table_->item(number);
  Problem& problem = problems_[item.kind];
  problem.weights = item.weights.data();
  problem.draw_numbers = item.draws.data();
  const auto width = static_cast<size_t>(item.inputs + item.rows);
  Outputs outputs = Outputs::fresh;
  for (size_t j = 0; j < width; ++j) {
    problem.layout.columns[j].data = static_cast<char*>(addresses[j]);
    if (j < static_cast<size_t>(item.inputs)) continue;
    if (std::find(addresses, addresses + item.inputs, addresses[j]) != addresses + item.inputs) {
      outputs = Outputs::aliased;
    }
  }
  return torchdiff::run(problem, outputs);
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
