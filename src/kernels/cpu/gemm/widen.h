// Panels of 4-bit codes rewritten as panels of 8-bit ones that multiply to the same bits. A product of many rows
// unpacks a panel's nibbles once for all of them, and reads whole bytes where columns stick out.
//
//     w4    -> w8     code + 120: the layouts' biases are 8 and 128
//     w4m   -> w8m    codes as they are
//     w4_row -> w8_row   codes as they are, with their offsets
//     w4_gN  -> w8_row   code * step - zero * step + 128, with the offset -128
// Scales, minimums and units are copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/cpu.h"
#include "kernels/cpu/gemm/layout.h"

namespace loci {

// Panels of `columns` columns, `count` of them behind each other.
using WidenPanels = void (*)(const std::byte* panels, size_t count, uint32_t columns, std::byte* wide);

struct Widening {
  WeightLayout to;
  WidenPanels run;
};

// The wider layout, and where products of many rows are faster in it: 4-bit codes with AMX, whose tiles take bytes, and
// with AVX-512 those with scales in blocks, whose columns that stick out are multiplied twice.
std::optional<WeightLayout> wider_layout(WeightLayout layout);
std::optional<Widening> widening(WeightLayout layout, Isa isa);

namespace detail {
void widen_w4_avx512(const std::byte* panels, size_t count, uint32_t columns, std::byte* wide);
void widen_w4m_avx512(const std::byte* panels, size_t count, uint32_t columns, std::byte* wide);
void widen_w4_row_avx512(const std::byte* panels, size_t count, uint32_t columns, std::byte* wide);
WidenPanels widen_steps_avx512(WeightLayout layout);
}  // namespace detail

}  // namespace loci
