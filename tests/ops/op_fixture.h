// What an operation's test needs: workers, scratch, rows that own their numbers.
#pragma once

#include <utility>
#include <vector>

#include "kernels/random_tensor.h"
#include "ops/context.h"
#include "tensor/rows.h"

namespace loci::test {

struct OpFixture {
  explicit OpFixture(int threads, Isa isa, size_t scratch_bytes = 16 << 20)
      : pool(threads), scratch(std::move(Workspace::allocate(scratch_bytes)).value()), context{pool, isa, scratch} {}

  ThreadPool pool;
  Workspace scratch;
  OpContext context;
};

// A matrix of numbers with room between the rows, which must stay what it is.
class Matrix {
 public:
  Matrix(size_t rows, size_t width, size_t gap = 0)
      : rows_(rows), width_(width), stride_(width + gap), data_(rows * (width + gap), kGap) {}
  Matrix(Rng& rng, size_t rows, size_t width, size_t gap = 0, float deviation = 1) : Matrix(rows, width, gap) {
    for (size_t r = 0; r < rows; ++r) {
      for (float& v : view().span(r)) v = normal(rng) * deviation;
    }
  }

  Rows view() {
    return {data_.data(), static_cast<uint32_t>(rows_), static_cast<uint32_t>(width_), static_cast<uint32_t>(stride_)};
  }
  // Rows [first, first + count).
  Rows view(size_t first, size_t count) {
    Rows v = view();
    v.data = v.row(first);
    v.rows = static_cast<uint32_t>(count);
    return v;
  }
  std::span<const float> row(size_t r) const { return {data_.data() + r * stride_, width_}; }
  const std::vector<float>& data() const { return data_; }
  bool gaps_intact() const {
    for (size_t r = 0; r < rows_; ++r) {
      for (size_t i = width_; i < stride_; ++i) {
        if (data_[r * stride_ + i] != kGap) return false;
      }
    }
    return true;
  }

 private:
  static constexpr float kGap = -12345.0F;
  size_t rows_, width_, stride_;
  std::vector<float> data_;
};

}  // namespace loci::test
