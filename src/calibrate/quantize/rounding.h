// From fp32 weights to the codes of a stored format: QServe's weight formats (arXiv:2405.04532, section 4.1) and the
// ranges, the clipping and the error-compensated rounding (GPTQ, arXiv:2210.17323) of step B5.
//
// A grid says which numbers a row can hold. It is made from the row's range, or a share of it, and does not change when
// codes are chosen.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "calibrate/quantize/matrix.h"
#include "tensor/row_scaled.h"

namespace loci {

// The numbers that a row of a format can hold.
class RowGrid {
 public:
  // Of w4_row, w4_gN and w8_row: the range of `w`, times `share`. Of q4_1: a step and a minimum for each `group`
  // columns.
  static RowGrid make(DType dtype, std::span<const float> w, float share = 1.0F, uint32_t group = 0);
  // Those steps and zeros, from the whole range down to kLeastShare of it, with which rounding `w` to nearest is off
  // least; the square of what column k is off by counts `weight[k]` times.
  static RowGrid fitted(DType dtype, std::span<const float> w, std::span<const float> weight, uint32_t group = 0);

  uint8_t code(size_t column, float w) const;
  float value(size_t column, uint8_t code) const;
  // Formats with one scale per row: all numbers grow in proportion.
  float scale() const { return to_float(scale_); }
  void set_scale(Half scale);
  // The row as it is stored.
  void write(std::span<const uint8_t> codes, std::byte* row) const;

 private:
  struct Halves {
    Half step, minimum;
  };
  // A group of w4_gN: how many steps a weight is, and the largest code whose integer has 8 bits.
  struct Steps {
    float inverse = 0;
    int most = 0;
  };

  void set_group(size_t group, CodeGroup to);
  double error(std::span<const float> w, std::span<const float> weight, size_t first, size_t count) const;
  void fit_group(std::span<const float> w, std::span<const float> weight, size_t group);
  void fit_row(std::span<const float> w, std::span<const float> weight);

  DType dtype_ = DType::kW8Row;
  Half scale_;
  float inverse_ = 0;  // of the scale; 0: all numbers are 0
  uint32_t columns_of_group_ = 0;
  std::vector<CodeGroup> groups_;
  std::vector<Steps> steps_;    // of w4_gN, by group
  std::vector<Halves> halves_;  // of q4_1
};

// Grids and codes of a matrix.
struct RoundedMatrix {
  DType dtype = DType::kW8Row;
  std::vector<RowGrid> grids;               // by row
  std::vector<std::vector<uint8_t>> codes;  // by row, by column

  std::vector<std::byte> bytes() const;
};

// The nearest number of each row's grid.
RoundedMatrix round_to_nearest(const Matrix& w, DType dtype, std::vector<RowGrid> grids, ThreadPool& pool);

// Grids of the rows' whole ranges.
std::vector<RowGrid> full_grids(const Matrix& w, DType dtype, uint32_t group, ThreadPool& pool);
// RowGrid::fitted of each row. A column weighs what its error costs where the columns behind it make up for it (GPTQ's
// measure: the damped gram matrix's inverse says it) if `compensated`, else its mean square.
inline constexpr float kLeastShare = 0.5F;
Result<std::vector<RowGrid>> fitted_grids(const Matrix& w, DType dtype, uint32_t group, const Matrix& gram,
                                          bool compensated, ThreadPool& pool);

// GPTQ: columns are rounded one after the other, by descending mean square of their input; what a column is off by is
// taken out of those that follow, in shares that the gram matrix's inverse gives. kCorrupt if it has none even when it
// is damped.
Result<RoundedMatrix> round_compensated(const Matrix& w, DType dtype, std::vector<RowGrid> grids, const Matrix& gram,
                                        ThreadPool& pool);

// Changes codes one by one as long as outputs over the inputs of the gram matrix come nearer to those of `w`, in
// `passes` passes over the columns; then `fits` times, in formats with one scale per row, that scale and the codes
// anew.
void refine(const Matrix& w, const Matrix& gram, int passes, int fits, RoundedMatrix& rounded, ThreadPool& pool);

// Rows as they come back from 8 bits, a step for each: what the engine multiplies weights of one scale per row with.
void round_rows_to_bytes(Matrix& x, ThreadPool& pool);

// w minus what is stored.
Matrix rounding_error(const Matrix& w, const RoundedMatrix& rounded, ThreadPool& pool);

}  // namespace loci
