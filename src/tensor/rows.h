// Activations: a matrix of fp32 rows, one per token of the batch. A view; the Workspace owns the numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace loci {

struct Rows {
  float* data = nullptr;
  uint32_t rows = 0;
  uint32_t width = 0;   // numbers per row
  uint32_t stride = 0;  // numbers from one row to the next, >= width

  float* row(size_t i) { return data + i * stride; }
  const float* row(size_t i) const { return data + i * stride; }
  std::span<float> span(size_t i) { return {row(i), width}; }
  std::span<const float> span(size_t i) const { return {row(i), width}; }
  size_t size() const { return size_t{rows} * width; }
};

}  // namespace loci
