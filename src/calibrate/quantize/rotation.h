// An orthonormal matrix that spreads every channel over all others: signs, then a Hadamard matrix of the size's powers
// of two, times (Kronecker) an orthonormal matrix of the odd factor that is left: 576 = 2^6 x 9, 640 = 2^7 x 5.
//
// The small one has entries cos(2 pi jk / m) + sin(2 pi jk / m) over the root of m (Hartley's transform): symmetric,
// orthonormal for every m, no entry above the root of 2 / m. The signs keep channels that all have one sign from
// meeting in one channel.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "calibrate/quantize/matrix.h"

namespace loci {

class Rotation {
 public:
  explicit Rotation(size_t size);

  size_t size() const { return signs_.size(); }
  size_t odd_factor() const { return odd_; }

  // x <- x R, computed in double; x [size].
  void apply(std::span<float> x) const;
  // Every row w of `m` becomes w R.
  void apply_to_rows(Matrix& m, ThreadPool& pool) const;
  // m becomes R^T m: its columns are rotated.
  void apply_to_columns(Matrix& m, ThreadPool& pool) const;

 private:
  std::vector<double> signs_;
  std::vector<double> small_;  // [odd, odd]
  size_t odd_ = 1;
};

}  // namespace loci
