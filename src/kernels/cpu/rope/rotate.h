// Rotary embedding of one head, in place. With (a, b) a pair and (c, s) its cosine and sine:
//     a' = fma(a, c, -(b * s))    b' = fma(b, c, a * s)
// on every instruction set, so results are equal bit for bit.
#pragma once

#include <cstddef>

#include "base/cpu.h"

namespace loci {

// `cosines` and `sines` have `half` numbers each; the first 2 * half numbers of `head` are rotated.
using RotateHead = void (*)(float* head, const float* cosines, const float* sines, size_t half);

RotateHead rotate_adjacent(Isa isa);  // pairs (2i, 2i + 1)
RotateHead rotate_halves(Isa isa);    // pairs (i, i + half)

namespace detail {
void rotate_adjacent_scalar(float* head, const float* cosines, const float* sines, size_t half);
void rotate_adjacent_avx2(float* head, const float* cosines, const float* sines, size_t half);
void rotate_adjacent_avx512(float* head, const float* cosines, const float* sines, size_t half);
void rotate_halves_scalar(float* head, const float* cosines, const float* sines, size_t half);
void rotate_halves_avx2(float* head, const float* cosines, const float* sines, size_t half);
void rotate_halves_avx512(float* head, const float* cosines, const float* sines, size_t half);
}  // namespace detail

}  // namespace loci
