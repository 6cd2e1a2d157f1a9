// Random stored tensors and activations for tests of kernels and operations. Seeded; the same on every machine.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/half.h"
#include "io/model_file.h"
#include "tensor/dtype.h"
#include "tensor/row_scaled.h"

namespace loci::test {

using Rng = std::mt19937;

inline float normal(Rng& rng) {
  // Twelve uniforms: close enough to normal, and the same with every standard library.
  float sum = -6;
  for (int i = 0; i < 12; ++i) sum += static_cast<float>(rng() >> 8) * 0x1p-24F;
  return sum;
}

inline std::vector<float> normals(Rng& rng, size_t count, float deviation = 1) {
  std::vector<float> out(count);
  for (float& v : out) v = normal(rng) * deviation;
  return out;
}

// Where a block holds half-precision scales: (offset, largest magnitude).
inline std::vector<std::pair<size_t, float>> half_fields(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return {{0, 0.02F}};
    case DType::kQ4_1:
      return {{0, 0.02F}, {2, 0.1F}};
    case DType::kQ5_0:
      return {{0, 0.01F}};
    case DType::kQ5_1:
      return {{0, 0.01F}, {2, 0.1F}};
    case DType::kQ8_0:
      return {{0, 0.001F}};
    case DType::kQ2_K:
      return {{80, 0.004F}, {82, 0.004F}};
    case DType::kQ3_K:
      return {{108, 0.002F}};
    case DType::kQ4_K:
      return {{0, 0.0003F}, {2, 0.0003F}};
    case DType::kQ5_K:
      return {{0, 0.0002F}, {2, 0.0002F}};
    case DType::kQ6_K:
      return {{208, 0.0001F}};
    case DType::kIQ4_NL:
      return {{0, 0.001F}};
    case DType::kIQ4_XS:
      return {{0, 0.0001F}};
    default:
      return {};
  }
}

template <typename T>
void put(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

// Steps and zeros of a row with one scale such that no code gives an integer beyond 8 bits.
inline void keep_ranges(Rng& rng, DType dtype, std::vector<std::byte>& row) {
  put(row.data(), to_half(dtype == DType::kW4Row ? 0.02F : 0.001F).bits);
  if (dtype == DType::kW4Row) put(row.data() + 2, static_cast<uint16_t>(rng() % 16));
  if (step_group(dtype) == 0) return;
  for (size_t at = info(dtype).header_bytes; at < row.size(); at += info(dtype).block_bytes) {
    const uint32_t step = 1 + rng() % (kMostStep - 1);  // with 17 some code always does
    const uint32_t most = std::min(15u, 128 / step), least = 15 - std::min(15u, 127 / step);
    put(row.data() + at, static_cast<uint8_t>(step));
    put(row.data() + at + 1, static_cast<uint8_t>(least + rng() % (most - least + 1)));
  }
}

// One row of `columns` random weights of about 0.1.
inline std::vector<std::byte> random_row(Rng& rng, DType dtype, size_t columns) {
  std::vector<std::byte> row(*row_bytes(dtype, columns));
  const DTypeInfo& format = info(dtype);
  if (format.block_elements == 1) {
    for (size_t i = 0; i < columns; ++i) {
      const float v = 0.1F * normal(rng);
      if (dtype == DType::kF32) put(row.data() + 4 * i, v);
      if (dtype == DType::kF16) put(row.data() + 2 * i, to_half(v).bits);
      if (dtype == DType::kBF16) put(row.data() + 2 * i, to_bfloat16(v).bits);
    }
    return row;
  }
  for (std::byte& b : row) b = static_cast<std::byte>(rng() & 0xff);
  if (is_row_scaled(dtype)) {
    keep_ranges(rng, dtype, row);
    return row;
  }
  for (size_t at = 0; at < row.size(); at += format.block_bytes) {
    for (const auto& [offset, largest] : half_fields(dtype)) {
      const float v = largest * (static_cast<float>(rng() % 2001) / 1000 - 1);
      put(row.data() + at + offset, to_half(v).bits);
    }
    if (dtype == DType::kMXFP4) put(row.data() + at, static_cast<uint8_t>(116 + rng() % 10));
  }
  return row;
}

// A tensor and the bytes it views.
struct StoredTensor {
  std::vector<std::byte> bytes;
  Tensor tensor;

  std::vector<float> row(size_t r) const {
    std::vector<float> out(tensor.columns());
    dequantize_row(tensor.dtype, bytes.data() + r * *row_bytes(tensor.dtype, tensor.columns()), out);
    return out;
  }
};

inline StoredTensor random_tensor(Rng& rng, DType dtype, size_t rows, size_t columns) {
  StoredTensor out;
  for (size_t r = 0; r < rows; ++r) {
    const std::vector<std::byte> row = random_row(rng, dtype, columns);
    out.bytes.insert(out.bytes.end(), row.begin(), row.end());
  }
  out.tensor = {.name = "random", .dtype = dtype, .shape = {rows, columns}, .data = out.bytes};
  return out;
}

// Types of which 64 and 172 columns can exist have blocks of 1 or 32.
inline size_t whole_blocks(DType dtype, size_t columns) {
  const size_t block = info(dtype).block_elements;
  return (columns + block - 1) / block * block;
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

}  // namespace loci::test
