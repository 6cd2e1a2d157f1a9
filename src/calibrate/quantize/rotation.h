// An orthonormal matrix that spreads every channel over all others: signs, then what the engine turns inputs with
// (ops/turn.h), a Hadamard matrix times one of the size's odd factor: 576 = 9 x 2^6, 640 = 5 x 2^7. The signs keep
// channels that all have one sign from meeting in one channel.
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
  std::span<const float> signs() const { return signs_; }

  // x <- x R, computed in double; x [size].
  void apply(std::span<float> x) const;
  // Every row w of `m` becomes w R.
  void apply_to_rows(Matrix& m, ThreadPool& pool) const;
  // m becomes R^T m: its columns are rotated.
  void apply_to_columns(Matrix& m, ThreadPool& pool) const;

 private:
  std::vector<float> signs_;
  size_t odd_ = 1;
  std::vector<double> small_;  // [odd, odd]
};

}  // namespace loci
