// Scratch memory of a forward pass: a stack of blocks over one allocation made when the engine starts. What a pass
// needs is computed beforehand, so running out is our own mistake and asserts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/assert.h"
#include "base/checked.h"
#include "base/memory.h"
#include "tensor/rows.h"

namespace loci {

class Workspace {
 public:
  static constexpr size_t kAlignment = 64;  // bytes; every block begins on it

  static Result<Workspace> allocate(size_t bytes) {
    LOCI_TRY(Buffer buffer, Buffer::allocate(bytes));
    return Workspace(std::move(buffer));
  }

  // Bytes that `take<T>(count)` uses.
  template <typename T>
  static constexpr size_t bytes_of(size_t count) {
    return round_up(count * sizeof(T), kAlignment);
  }

  template <typename T>
  std::span<T> take(size_t count) {
    const size_t bytes = bytes_of<T>(count);
    LOCI_ASSERT(used_ + bytes <= buffer_.size(), "workspace is too small for the pass it was planned for");
    T* data = reinterpret_cast<T*>(buffer_.data() + used_);
    used_ += bytes;
    peak_ = used_ > peak_ ? used_ : peak_;
    return {data, count};
  }
  Rows rows(size_t count, size_t width) {
    const std::span<float> block = take<float>(count * width);
    return {block.data(), static_cast<uint32_t>(count), static_cast<uint32_t>(width), static_cast<uint32_t>(width)};
  }

  // Gives back everything taken after it was made.
  class Mark {
   public:
    explicit Mark(Workspace& workspace) : workspace_(workspace), used_(workspace.used_) {}
    ~Mark() { workspace_.used_ = used_; }
    Mark(const Mark&) = delete;
    Mark& operator=(const Mark&) = delete;

   private:
    Workspace& workspace_;
    size_t used_;
  };

  size_t capacity() const { return buffer_.size(); }
  size_t peak() const { return peak_; }

 private:
  explicit Workspace(Buffer buffer) : buffer_(std::move(buffer)) {}

  Buffer buffer_;
  size_t used_ = 0;
  size_t peak_ = 0;
};

}  // namespace loci
