// Memory of large outputs on the CPU: what one output leaves, the next one gets.
//
// An allocator returns large memory to the system when it is freed, and the next output waits for 16384 pages to be
// cleared for each 64 MiB: 26 ms on one core, where to write to it takes 3. Here a freed block stays, and blocks are
// made of huge pages where the system has them (5 ms to clear, and 2.5 times fewer misses of the TLB ever after).
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace torchdiff {

constexpr size_t kKeptLeast = size_t{4} << 20;   // bytes: below it, allocators keep memory themselves
constexpr size_t kKeptMost = size_t{256} << 20;  // in all blocks that nobody uses; TORCHDIFF_KEEP_MEMORY changes it
constexpr size_t kKeptWarm = size_t{64} << 20;   // of these, what the system may not take back when it runs short

// An uninitialised tensor with the shape, strides, dtype and device of `like`, as empty_like makes them, perhaps in the
// memory of an output that was freed. It cannot grow by resize_, as a tensor of numpy's memory cannot.
torch::stable::Tensor memory_like(const torch::stable::Tensor& like);

// The same for a contiguous tensor of this shape.
torch::stable::Tensor memory_for(const std::vector<int64_t>& shape, torch::headeronly::ScalarType dtype,
                                 const torch::stable::Device& device);

// How many bytes are kept at most. Throws std::invalid_argument for an environment that does not say.
size_t most_kept();

// Returns to the system all blocks that nobody uses, and says how many bytes that were.
size_t release_memory();

}  // namespace torchdiff
