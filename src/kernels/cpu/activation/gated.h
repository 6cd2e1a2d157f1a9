// Gated activations of one row: out = f(gate) * up, with f(v) = v / (1 + exp(-u)):
//     silu       u = v
//     gelu_tanh  u = 2 sqrt(2 / pi) (v + 0.044715 v^3), which is v (1 + tanh(u / 2)) / 2
// Equal bit for bit on every instruction set: exp is, and the other operations are single IEEE ones.
#pragma once

#include <cstddef>

#include "base/cpu.h"

namespace loci {

using GatedRow = void (*)(const float* gate, const float* up, size_t width, float* out);

GatedRow silu_mul_row(Isa isa);
GatedRow gelu_tanh_mul_row(Isa isa);

namespace detail {
inline constexpr float kGeluLinear = 1.5957691216F;    // 2 sqrt(2 / pi)
inline constexpr float kGeluCubic = 0.0713548162726F;  // 0.044715 times that

void silu_mul_row_scalar(const float* gate, const float* up, size_t width, float* out);
void silu_mul_row_avx2(const float* gate, const float* up, size_t width, float* out);
void silu_mul_row_avx512(const float* gate, const float* up, size_t width, float* out);
void gelu_tanh_mul_row_scalar(const float* gate, const float* up, size_t width, float* out);
void gelu_tanh_mul_row_avx2(const float* gate, const float* up, size_t width, float* out);
void gelu_tanh_mul_row_avx512(const float* gate, const float* up, size_t width, float* out);
}  // namespace detail

}  // namespace loci
