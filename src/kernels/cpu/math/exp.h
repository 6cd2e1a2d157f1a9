// Exponentials of a run of numbers. Equal bit for bit on every instruction set; error and limits as exp_scalar.
#pragma once

#include <cstddef>

#include "base/cpu.h"

namespace loci {

using ExpRow = void (*)(const float* x, size_t count, float* out);

ExpRow exp_row(Isa isa);

namespace detail {
void exp_row_scalar(const float* x, size_t count, float* out);
void exp_row_avx2(const float* x, size_t count, float* out);
void exp_row_avx512(const float* x, size_t count, float* out);
}  // namespace detail

}  // namespace loci
