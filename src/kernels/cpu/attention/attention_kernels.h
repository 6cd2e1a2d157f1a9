// The arithmetic of a softmax read: rows of queries fold blocks of 64 decoded entries into running states.
//
// A state holds, per row, the maximum score m, the sum l of exp(score - m), and o = sum of exp(score - m) * v. States
// of disjoint sets of entries merge into the state of their union (flash attention's rescaling), and an empty state is
// m = -inf, l = 0, o = 0. A row's operations do not depend on the rows beside it, and a block in which a row sees
// nothing leaves its state as it was, bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"

namespace loci {

// Slots [first, last) of a block of 64 that a row sees; empty if first >= last.
struct VisibleSlots {
  int first;
  int last;
};

// States of consecutive rows. Non-owning.
struct SoftmaxState {
  float* m;  // [rows]
  float* l;  // [rows]
  float* o;  // [rows, dim]
};

struct AttentionKernels {
  // q [rows, dim] already scaled, keys [dim, 64], values [64, dim]; dim a multiple of 16. scores is scratch of [rows,
  // 64].
  void (*fold_block)(const float* q, size_t rows, size_t dim, const float* keys, const float* values,
                     const VisibleSlots* visible, float* scores, SoftmaxState state);
  // into = the state of both sets.
  void (*merge)(SoftmaxState into, SoftmaxState from, size_t rows, size_t dim);
};

const AttentionKernels& attention_kernels(Isa isa);

void clear(SoftmaxState state, size_t rows, size_t dim);

}  // namespace loci
