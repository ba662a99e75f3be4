// Blocks of memory that nobody uses, kept for whoever asks next.
#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

namespace torchdiff {

// Thread-safe. A child of fork() starts with nothing kept: to write to the parent's pages would copy them first.
class Kept {
 public:
  // most: bytes to keep; warm: how many of them the system may not take back, those that were freed last.
  Kept(size_t most, size_t warm) : most_(most), warm_(warm) {}

  // A block of at least `bytes`, at most an eighth larger, and its size; null where there is no memory.
  void* take(size_t bytes, size_t* size);

  // Keeps a block of take(), or returns it to the system where it is too much.
  void give(void* data, size_t size);

  // Returns all blocks to the system, and says how many bytes that were.
  size_t release();

  std::mutex& mutex() { return mutex_; }
  void release_in_child();  // by the only thread of a new process

 private:
  struct Block {
    void* data;
    size_t size;
    bool marked;  // the system may take its pages
  };

  size_t release_beyond(size_t most);

  const size_t most_, warm_;
  std::mutex mutex_;
  std::vector<Block> blocks_;  // the last freed at the end
};

}  // namespace torchdiff
