// Writes panels and reads weights back. Packing is done once, when a model loads; any thread may pack any panel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cpu/gemm/layout.h"
#include "tensor/dtype.h"

namespace loci {

// Packs panels of one matrix shape. Holds scratch memory for a panel's decoded rows: one packer per thread.
class PanelPacker {
 public:
  PanelPacker(DType dtype, WeightLayout layout, uint32_t columns);

  // `rows` (1 to 16) stored rows, `row_stride` bytes apart, become the panel; rows beyond them are zeros.
  void pack(const std::byte* stored, size_t row_stride, uint32_t rows, std::byte* panel);

 private:
  void pack_integer(const std::byte* stored, size_t row_stride, uint32_t rows, std::byte* panel);
  void pack_exact(const std::byte* stored, size_t row_stride, uint32_t rows, std::byte* panel);
  void pack_float(const std::byte* stored, size_t row_stride, uint32_t rows, std::byte* panel);

  DType dtype_;
  WeightLayout layout_;
  uint32_t columns_;
  PanelShape shape_;
  std::vector<uint8_t> codes_;   // [16, columns]
  std::vector<float> scales_;    // [16, groups]
  std::vector<float> minimums_;  // [16, groups] or empty
  std::vector<float> floats_;    // [columns], float layouts
};

// Row `row` (0 to 15) of a panel as fp32: the numbers that products multiply with.
void unpack_panel_row(WeightLayout layout, uint32_t columns, const std::byte* panel, uint32_t row,
                      std::span<float> out);

}  // namespace loci
