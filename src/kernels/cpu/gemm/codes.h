// From a stored row to integer codes and scales: the step between a file's block formats and the packed layouts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/cpu/gemm/layout.h"
#include "tensor/dtype.h"

namespace loci {

// One row. Codes as the layout stores them: biased by 8 or 128 where it has no minimum, raw where it has one.
struct RowCodes {
  std::span<uint8_t> codes;   // one per column
  std::span<float> scales;    // one per group of layout_of(dtype, true)
  std::span<float> minimums;  // the same count, or empty; weight = scale * code + minimum
};

// Decodes a row of a block-quantized type.
void decode_codes(DType dtype, const std::byte* row, const RowCodes& out);

}  // namespace loci
