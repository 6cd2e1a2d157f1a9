// out = x / sqrt(mean(x^2) + eps) * weight for one row.
//
// One order of summation on every instruction set, so results are equal bit for bit: lane i of 16 adds x[i]^2, x[i +
// 16]^2, ... with fused multiply-adds, then lanes fold 8 + 8, 4 + 4, 2 + 2, 1 + 1.
#pragma once

#include <cstddef>

#include "base/cpu.h"

namespace loci {

using RmsNormRow = void (*)(const float* x, const float* weight, float eps, size_t width, float* out);

RmsNormRow rms_norm_row(Isa isa);

namespace detail {
void rms_norm_row_scalar(const float* x, const float* weight, float eps, size_t width, float* out);
void rms_norm_row_avx2(const float* x, const float* weight, float eps, size_t width, float* out);
void rms_norm_row_avx512(const float* x, const float* weight, float eps, size_t width, float* out);
}  // namespace detail

}  // namespace loci
