// Rows times a fixed orthonormal matrix, so that no column of an input sticks out when it is rounded to 8 bits: what
// quantized models do in front of some projections, whose weights were multiplied by the same matrix (QuaRot,
// arXiv:2404.00456, section 4; docs/formats/quantized.md).
//
// Index i = block * powers + place: the Hadamard matrix of the size's powers of two within blocks, and across them an
// orthonormal matrix of the odd factor: 640 = 5 blocks of 128, 1536 = 3 of 512.
#pragma once

#include <vector>

#include "base/error.h"
#include "kernels/cpu/turn/turn.h"
#include "ops/context.h"
#include "tensor/rows.h"

namespace loci {

// Of a size's largest odd factor m, [m, m]: cos(2 pi jk / m) + sin(2 pi jk / m) over the root of m (Hartley's
// transform): symmetric, orthonormal for every m, no entry above the root of 2 / m.
std::vector<double> hartley_matrix(size_t m);
size_t odd_factor(size_t size);

class InputTurn {
 public:
  // Whether the odd factor is small enough.
  static bool fits(uint32_t width) { return odd_factor(width) <= kMostTurnBlocks; }
  // kUnsupported names a width that does not fit.
  static Result<InputTurn> of_width(uint32_t width);

  // x [rows, width], in place, row by row.
  void operator()(OpContext& context, Rows x) const;

 private:
  explicit InputTurn(uint32_t width);

  uint32_t powers_;
  uint32_t odd_;
  std::vector<float> small_;
};

}  // namespace loci
