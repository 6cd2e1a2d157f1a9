#include "calibrate/quantize/rounding.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/assert.h"

namespace loci {
namespace {

constexpr int kMostCode = 15;
constexpr float kClipStep = 0.02F;
constexpr double kDamping = 0.01;  // of the gram matrix's mean diagonal
constexpr size_t kBlock = 128;     // columns whose errors are handed on together
constexpr size_t kRowBlock = 64;   // rows in a work item

int rounded(float x) { return static_cast<int>(std::lrint(x)); }  // one instruction, unlike nearbyint
float inverse_or_zero(float x) { return x > 0 ? 1.0F / x : 0.0F; }

struct WeightRange {
  float low = 0, high = 0;
};
WeightRange range_of(std::span<const float> w, float share) {
  WeightRange out;
  for (const float x : w) {
    out.low = std::min(out.low, x);
    out.high = std::max(out.high, x);
  }
  return {out.low * share, out.high * share};
}

void store_half(std::byte* to, Half h) { std::memcpy(to, &h.bits, sizeof h.bits); }

}  // namespace

RowGrid RowGrid::make(DType dtype, std::span<const float> w, float share, uint32_t group) {
  RowGrid out;
  out.dtype_ = dtype;
  const WeightRange all = range_of(w, share);
  if (dtype == DType::kQ4_1) {
    out.columns_of_group_ = group;
    for (size_t first = 0; first < w.size(); first += group) {
      const WeightRange r = range_of(w.subspan(first, std::min<size_t>(group, w.size() - first)), share);
      out.halves_.push_back({to_half((r.high - r.low) / kMostCode), to_half(r.low)});
    }
    return out;
  }
  if (dtype == DType::kW4Row) {
    out.scale_ = to_half((all.high - all.low) / kMostCode);
    out.inverse_ = inverse_or_zero(to_float(out.scale_));
    out.groups_ = {{1, static_cast<uint8_t>(std::clamp(rounded(-all.low * out.inverse_), 0, kMostCode))}};
    return out;
  }
  const float largest = std::max(-all.low, all.high);
  const bool bytes = dtype == DType::kW8Row;
  out.scale_ = to_half(largest / static_cast<float>(bytes ? 127 : kProtectiveRange));
  out.inverse_ = inverse_or_zero(to_float(out.scale_));
  if (bytes) return out;
  // The second level rounds the integers of the first.
  out.columns_of_group_ = step_group(dtype);
  const auto integer = [&](float x) {
    return std::clamp(rounded(x * out.inverse_), -kProtectiveRange, kProtectiveRange);
  };
  for (size_t first = 0; first < w.size(); first += out.columns_of_group_) {
    const WeightRange r = range_of(w.subspan(first, out.columns_of_group_), share);
    const int low = integer(r.low), high = integer(r.high);
    const int step = std::max(1, rounded(static_cast<float>(high - low) / kMostCode));
    const int zero = std::clamp(rounded(static_cast<float>(-low) / static_cast<float>(step)), 0, kMostCode);
    out.groups_.emplace_back();
    out.steps_.emplace_back();
    out.set_group(out.groups_.size() - 1, {static_cast<uint8_t>(step), static_cast<uint8_t>(zero)});
  }
  return out;
}

void RowGrid::set_group(size_t group, CodeGroup to) {
  groups_[group] = to;
  steps_[group] = {inverse_ / static_cast<float>(to.step), std::min(kMostCode, to.zero + INT8_MAX / to.step)};
}

void RowGrid::set_scale(Half scale) {
  scale_ = scale;
  inverse_ = inverse_or_zero(to_float(scale_));
  for (size_t g = 0; g < steps_.size(); ++g) set_group(g, groups_[g]);
}

double RowGrid::error(std::span<const float> w, std::span<const float> weight, size_t first, size_t count) const {
  double sum = 0;
  for (size_t k = first; k < first + count; ++k) {
    const float off = w[k] - value(k, code(k, w[k]));
    sum += double{weight[k]} * off * off;
  }
  return sum;
}

void RowGrid::fit_group(std::span<const float> w, std::span<const float> weight, size_t group) {
  const size_t first = group * columns_of_group_, count = std::min<size_t>(columns_of_group_, w.size() - first);
  const CodeGroup whole = groups_[group];
  CodeGroup best = whole;
  double least = error(w, weight, first, count);
  const float middle = static_cast<float>(kMostCode) / 2;
  const float center = (middle - static_cast<float>(whole.zero)) * static_cast<float>(whole.step);
  const int least_step = std::max(1, static_cast<int>(static_cast<float>(whole.step) * kLeastShare));
  for (int step = whole.step; step >= least_step; --step) {
    const int about = rounded(middle - center / static_cast<float>(step));
    for (int zero = std::max(0, about - 1); zero <= std::min(about + 1, kMostCode); ++zero) {
      if (zero * step > -INT8_MIN) continue;
      set_group(group, {static_cast<uint8_t>(step), static_cast<uint8_t>(zero)});
      const double off = error(w, weight, first, count);
      if (off < least) {
        least = off;
        best = groups_[group];
      }
    }
  }
  set_group(group, best);
}

void RowGrid::fit_row(std::span<const float> w, std::span<const float> weight) {
  RowGrid best = *this;
  double least = error(w, weight, 0, w.size());
  for (float share = 1.0F - kClipStep; share > kLeastShare - kClipStep / 2; share -= kClipStep) {
    RowGrid tried = make(dtype_, w, share, columns_of_group_);
    const int zero = tried.groups_.empty() ? 0 : tried.groups_[0].zero;
    for (int by = dtype_ == DType::kW4Row ? -1 : 0; by <= (dtype_ == DType::kW4Row ? 1 : 0); ++by) {
      if (zero + by < 0 || zero + by > kMostCode) continue;
      if (!tried.groups_.empty()) tried.groups_[0].zero = static_cast<uint8_t>(zero + by);
      const double off = tried.error(w, weight, 0, w.size());
      if (off < least) {
        least = off;
        best = tried;
      }
    }
  }
  *this = best;
}

RowGrid RowGrid::fitted(DType dtype, std::span<const float> w, std::span<const float> weight, uint32_t group) {
  RowGrid out = make(dtype, w, 1.0F, group);
  const bool grouped = is_row_scaled(dtype) && step_group(dtype) > 0;
  if (!grouped) {
    out.fit_row(w, weight);
    return out;
  }
  for (size_t g = 0; g < out.groups_.size(); ++g) out.fit_group(w, weight, g);
  return out;
}

uint8_t RowGrid::code(size_t column, float w) const {
  if (dtype_ == DType::kQ4_1) {
    const Halves& h = halves_[column / columns_of_group_];
    const float inverse = inverse_or_zero(to_float(h.step));
    return static_cast<uint8_t>(std::clamp(rounded((w - to_float(h.minimum)) * inverse), 0, kMostCode));
  }
  if (dtype_ == DType::kW8Row) return static_cast<uint8_t>(std::clamp(rounded(w * inverse_), -127, 127) + 128);
  if (dtype_ == DType::kW4Row) {
    return static_cast<uint8_t>(std::clamp(rounded(w * inverse_) + groups_[0].zero, 0, kMostCode));
  }
  const size_t group = column / columns_of_group_;
  const Steps& steps = steps_[group];
  return static_cast<uint8_t>(std::clamp(rounded(w * steps.inverse) + groups_[group].zero, 0, steps.most));
}

float RowGrid::value(size_t column, uint8_t code) const {
  if (dtype_ == DType::kQ4_1) {
    const Halves& h = halves_[column / columns_of_group_];
    return to_float(h.step) * static_cast<float>(code) + to_float(h.minimum);
  }
  const float scale = to_float(scale_);
  if (dtype_ == DType::kW8Row) return scale * static_cast<float>(int{code} - 128);
  const CodeGroup& g = groups_[columns_of_group_ == 0 ? 0 : column / columns_of_group_];
  return scale * static_cast<float>((code - g.zero) * g.step);
}

void RowGrid::write(std::span<const uint8_t> codes, std::byte* row) const {
  if (dtype_ != DType::kQ4_1) return write_row(dtype_, scale_, groups_, codes, row);
  const DTypeInfo& format = info(dtype_);
  for (size_t first = 0; first < codes.size(); first += format.block_elements, row += format.block_bytes) {
    const Halves& h = halves_[first / columns_of_group_];
    store_half(row, h.step);
    store_half(row + 2, h.minimum);
    for (size_t i = 0; i < 16; ++i) {
      row[4 + i] = std::byte(static_cast<uint8_t>(codes[first + i] | (codes[first + 16 + i] << 4)));
    }
  }
}

std::vector<std::byte> RoundedMatrix::bytes() const {
  const size_t stride = *row_bytes(dtype, codes.front().size());
  std::vector<std::byte> out(stride * codes.size());
  for (size_t r = 0; r < codes.size(); ++r) grids[r].write(codes[r], out.data() + r * stride);
  return out;
}

namespace {

void round_row_to(const RowGrid& grid, std::span<const float> w, std::vector<uint8_t>& codes) {
  codes.resize(w.size());
  for (size_t k = 0; k < w.size(); ++k) codes[k] = grid.code(k, w[k]);
}

RoundedMatrix empty_rounding(const Matrix& w, DType dtype, std::vector<RowGrid> grids) {
  RoundedMatrix out{.dtype = dtype, .grids = std::move(grids), .codes = {}};
  out.codes.resize(w.rows);
  return out;
}

}  // namespace

RoundedMatrix round_to_nearest(const Matrix& w, DType dtype, std::vector<RowGrid> grids, ThreadPool& pool) {
  RoundedMatrix out = empty_rounding(w, dtype, std::move(grids));
  pool.parallel_for(w.rows, [&](size_t r, int) { round_row_to(out.grids[r], w.span(r), out.codes[r]); });
  return out;
}

std::vector<RowGrid> full_grids(const Matrix& w, DType dtype, uint32_t group, ThreadPool& pool) {
  std::vector<RowGrid> out(w.rows);
  pool.parallel_for(w.rows, [&](size_t r, int) { out[r] = RowGrid::make(dtype, w.span(r), 1.0F, group); });
  return out;
}

void round_rows_to_bytes(Matrix& x, ThreadPool& pool) {
  pool.parallel_for(x.rows, [&](size_t r, int) {
    float largest = 0;
    for (const float v : x.span(r)) largest = std::max(largest, std::fabs(v));
    if (largest == 0) return;
    const float step = largest / 127, inverse = 127 / largest;
    for (float& v : x.span(r)) v = step * std::nearbyint(v * inverse);
  });
}

Matrix rounding_error(const Matrix& w, const RoundedMatrix& rounded_w, ThreadPool& pool) {
  Matrix out(w.rows, w.columns);
  pool.parallel_for(w.rows, [&](size_t r, int) {
    for (size_t k = 0; k < w.columns; ++k) {
      out.row(r)[k] = w.row(r)[k] - rounded_w.grids[r].value(k, rounded_w.codes[r][k]);
    }
  });
  return out;
}

namespace {

std::vector<uint32_t> by_diagonal(const Matrix& gram) {
  std::vector<uint32_t> order(gram.rows);
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return gram.row(a)[a] > gram.row(b)[b]; });
  return order;
}

Result<Matrix> damped_factor(const Matrix& gram, std::span<const uint32_t> order) {
  double mean = 0;
  for (size_t i = 0; i < gram.rows; ++i) mean += gram.row(i)[i] / static_cast<double>(gram.rows);
  Matrix sorted(gram.rows, gram.columns);
  for (size_t i = 0; i < gram.rows; ++i) {
    for (size_t k = 0; k < gram.columns; ++k) sorted.row(i)[k] = gram.row(order[i])[order[k]];
    sorted.row(i)[i] += static_cast<float>(mean > 0 ? kDamping * mean : 1.0);
  }
  return inverse_factor(sorted);
}

// What an error of each column costs.
Result<std::vector<float>> column_weights(const Matrix& gram, bool compensated) {
  std::vector<float> out(gram.rows);
  if (!compensated) {
    for (size_t k = 0; k < out.size(); ++k) out[k] = gram.row(k)[k];
    return out;
  }
  const std::vector<uint32_t> order = by_diagonal(gram);
  LOCI_TRY(const Matrix factor, damped_factor(gram, order));
  for (size_t i = 0; i < out.size(); ++i) out[order[i]] = 1.0F / (factor.row(i)[i] * factor.row(i)[i]);
  return out;
}

// Rounds rows [first, last), whose columns have been sorted: `rest` [rows, columns] holds what is left of them.
void round_rows(Matrix& rest, size_t first_row, const Matrix& factor, std::span<const uint32_t> order,
                RoundedMatrix& out) {
  const size_t n = rest.columns;
  Matrix errors(rest.rows, kBlock);
  for (size_t begin = 0; begin < n; begin += kBlock) {
    const size_t end = std::min(begin + kBlock, n);
    for (size_t r = 0; r < rest.rows; ++r) {
      const RowGrid& grid = out.grids[first_row + r];
      float* w = rest.row(r);
      for (size_t i = begin; i < end; ++i) {
        const uint32_t column = order[i];
        const uint8_t code = grid.code(column, w[i]);
        out.codes[first_row + r][column] = code;
        const float* share = factor.row(i);
        const float error = (w[i] - grid.value(column, code)) / share[i];
        errors.row(r)[i - begin] = error;
        for (size_t k = i + 1; k < end; ++k) w[k] -= error * share[k];
      }
    }
    if (end == n) break;
    subtract_product(rest.rows, end - begin, n - end, errors.data.data(), kBlock, factor.row(begin) + end, n,
                     rest.data.data() + end, n);
  }
}

}  // namespace

Result<RoundedMatrix> round_compensated(const Matrix& w, DType dtype, std::vector<RowGrid> grids, const Matrix& gram,
                                        ThreadPool& pool) {
  const std::vector<uint32_t> order = by_diagonal(gram);
  LOCI_TRY(const Matrix factor, damped_factor(gram, order));
  RoundedMatrix out = empty_rounding(w, dtype, std::move(grids));
  pool.parallel_for((w.rows + kRowBlock - 1) / kRowBlock, [&](size_t item, int) {
    const size_t first = item * kRowBlock, count = std::min(kRowBlock, w.rows - first);
    Matrix rest(count, w.columns);
    for (size_t r = 0; r < count; ++r) {
      out.codes[first + r].resize(w.columns);
      for (size_t i = 0; i < w.columns; ++i) rest.row(r)[i] = w.row(first + r)[order[i]];
    }
    round_rows(rest, first, factor, order, out);
  });
  return out;
}

Result<std::vector<RowGrid>> fitted_grids(const Matrix& w, DType dtype, uint32_t group, const Matrix& gram,
                                          bool compensated, ThreadPool& pool) {
  LOCI_TRY(const std::vector<float> weight, column_weights(gram, compensated));
  std::vector<RowGrid> out(w.rows);
  pool.parallel_for(w.rows, [&](size_t r, int) { out[r] = RowGrid::fitted(dtype, w.span(r), weight, group); });
  return out;
}

namespace {

// Rows [first, first + count) of a rounded matrix, what their weights are off by, and half of what the squared error of
// outputs falls by where a weight grows: off (gram + damping).
class Refinement {
 public:
  Refinement(const Matrix& w, const Matrix& gram, float damping, size_t first, size_t count, RoundedMatrix& rounded)
      : w_(w), gram_(gram), damping_(damping), first_(first), rounded_(rounded), off_(count, w.columns) {
    for (size_t r = 0; r < count; ++r) {
      for (size_t k = 0; k < w.columns; ++k) off_.row(r)[k] = w.row(first + r)[k] - value(r, k);
    }
    gain_ = damped_product(off_);
  }

  // Moves codes to where their error would be least if the others stayed, `passes` times over the columns.
  void change_codes(std::span<const uint32_t> order, int passes) {
    for (size_t r = 0; r < off_.rows; ++r) {
      for (int pass = 0; pass < passes && change_row(r, order); ++pass) {
      }
    }
  }

  // Moves each row's scale to where its error is least with these codes.
  void fit_scales() {
    Matrix units(off_.rows, off_.columns);  // the row's numbers in units of its scale
    for (size_t r = 0; r < units.rows; ++r) {
      const float scale = grid(r).scale();
      for (size_t k = 0; k < units.columns && scale > 0; ++k) units.row(r)[k] = value(r, k) / scale;
    }
    const Matrix moved = damped_product(units);
    for (size_t r = 0; r < units.rows; ++r) {
      double gain = 0, cost = 0;
      for (size_t k = 0; k < units.columns; ++k) {
        gain += double{units.row(r)[k]} * gain_.row(r)[k];
        cost += double{units.row(r)[k]} * moved.row(r)[k];
      }
      if (!(cost > 0)) continue;
      const float before = grid(r).scale();
      const Half after = to_half(static_cast<float>(before + gain / cost));
      if (!(to_float(after) > 0) || !std::isfinite(to_float(after))) continue;
      grid(r).set_scale(after);
      const float by = to_float(after) - before;
      for (size_t k = 0; k < units.columns; ++k) {
        off_.row(r)[k] -= by * units.row(r)[k];
        gain_.row(r)[k] -= by * moved.row(r)[k];
      }
    }
  }

 private:
  RowGrid& grid(size_t r) { return rounded_.grids[first_ + r]; }
  float value(size_t r, size_t k) { return grid(r).value(k, rounded_.codes[first_ + r][k]); }

  Matrix damped_product(const Matrix& rows) const {
    const size_t n = rows.columns;
    Matrix out(rows.rows, n);
    subtract_product(rows.rows, n, n, rows.data.data(), n, gram_.data.data(), n, out.data.data(), n);
    for (size_t i = 0; i < out.data.size(); ++i) out.data[i] = damping_ * rows.data[i] - out.data[i];
    return out;
  }

  bool change_row(size_t r, std::span<const uint32_t> order) {
    std::vector<uint8_t>& codes = rounded_.codes[first_ + r];
    float* off = off_.row(r);
    float* gain = gain_.row(r);
    bool changed = false;
    for (const uint32_t k : order) {
      const float now = w_.row(first_ + r)[k] - off[k];
      const uint8_t code = grid(r).code(k, now + gain[k] / (gram_.row(k)[k] + damping_));
      if (code == codes[k]) continue;
      const float by = grid(r).value(k, code) - now;
      const float* row = gram_.row(k);
      for (size_t i = 0; i < off_.columns; ++i) gain[i] -= by * row[i];
      gain[k] -= by * damping_;
      off[k] -= by;
      codes[k] = code;
      changed = true;
    }
    return changed;
  }

  const Matrix& w_;
  const Matrix& gram_;
  float damping_;
  size_t first_;
  RoundedMatrix& rounded_;
  Matrix off_, gain_;
};

}  // namespace

void refine(const Matrix& w, const Matrix& gram, int passes, int fits, RoundedMatrix& rounded, ThreadPool& pool) {
  const std::vector<uint32_t> order = by_diagonal(gram);
  double mean = 0;
  for (size_t i = 0; i < w.columns; ++i) mean += gram.row(i)[i] / static_cast<double>(w.columns);
  const auto damping = static_cast<float>(kDamping * mean);
  pool.parallel_for((w.rows + kRowBlock - 1) / kRowBlock, [&](size_t item, int) {
    const size_t first = item * kRowBlock, count = std::min(kRowBlock, w.rows - first);
    Refinement rows(w, gram, damping, first, count, rounded);
    rows.change_codes(order, passes);
    for (int fit = 0; fit < fits && is_row_scaled(rounded.dtype); ++fit) {
      rows.fit_scales();
      rows.change_codes(order, passes);
    }
  });
}

}  // namespace loci
