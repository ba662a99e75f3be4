// Pages behind memory that was just allocated.
//
// An allocator gives large tensors memory without pages, and a store to each page of 4 KiB traps: on 64 MiB a third of
// what a noisy step takes. Asked for in pieces by the thread that is about to write them, the pages come at one call a
// piece, and what the system cleared is still in that thread's L2 cache.
#pragma once

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <cstddef>
#include <cstdint>

namespace torchdiff {

constexpr int64_t kFreshPiece = int64_t{512} << 10;  // bytes: between 128 KiB and 1 MiB nothing changes
constexpr int64_t kFreshLeast = int64_t{8} << 20;    // below it, allocators keep memory, and to ask is all that is left

// Brings the pages inside [begin, end) unless the first is there already, which costs 0.3 us to ask. A system that
// cannot (before Linux 5.14) brings each page at the first store to it, as ever.
inline void bring_pages(void* begin, void* end) {
#if defined(__linux__)
  static const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
  const uintptr_t last = reinterpret_cast<uintptr_t>(end) / page * page;
  if (first >= last) return;
  unsigned char there = 0;
  if (mincore(reinterpret_cast<void*>(first), page, &there) != 0 || (there & 1) != 0) return;
  constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, which older headers lack
  madvise(reinterpret_cast<void*>(first), last - first, kPopulateWrite);
#endif
}

}  // namespace torchdiff
