// The rotation of keys and queries that quantized codecs use.
#pragma once

#include <cstddef>

namespace loci {

inline constexpr float kGroupNormal = 0.17677669529663687F;  // 1 / sqrt(kCodeGroup)

// Multiplies each group of kCodeGroup numbers of x [dims] by the orthonormal Hadamard matrix, in place: its own
// inverse. One order of additions, in plain C++, on every instruction set. `dims` is a multiple of kCodeGroup.
void rotate_groups(float* x, size_t dims);

}  // namespace loci
