#include "calibrate/quantize/key_feedback.h"

#include <algorithm>
#include <cmath>
#include <complex>

#include "base/assert.h"
#include "kernels/cpu/kv_codec/hadamard.h"
#include "kernels/cpu/kv_codec/key_rounding.h"

namespace loci {
namespace {

constexpr double kDamping = 0.1;  // of the mean second moment; 0.3 does alike, 1 a little worse
constexpr double kGolden = 0.6180339887498949;

// Where the sample's row t is to stand, evenly over the context.
double position_of(size_t t, double context) { return std::fmod(kGolden * static_cast<double>(t + 1), 1.0) * context; }

// Turns the pairs of a query on by `positions`.
void move(std::vector<float>& query, const ModelConfig& config, const RopeFrequencies& rope, double positions) {
  const bool halves = config.rope_pairing == RopePairing::kHalves;
  const size_t pairs = rope.inverse_frequencies.size();
  for (size_t pair = 0; pair < pairs; ++pair) {
    float& a = query[halves ? pair : 2 * pair];
    float& b = query[halves ? pair + pairs : 2 * pair + 1];
    const std::complex<double> moved =
        std::complex<double>(a, b) * std::polar(1.0, rope.inverse_frequencies[pair] * positions);
    a = static_cast<float>(moved.real());
    b = static_cast<float>(moved.imag());
  }
}

// Second moments of the queries within each group of dimensions, as keys are coded.
std::vector<Matrix> moments_of(const LayerStatistics& seen, const ModelConfig& config, const RopeFrequencies& rope,
                               size_t kv_head) {
  const size_t dim = config.head_dim, padded = page_layout(KvCodec::kKv4, config.head_dim).padded_dim;
  const size_t queries = config.query_heads / config.kv_heads;
  std::vector<Matrix> out(padded / kCodeGroup, Matrix(kCodeGroup, kCodeGroup));
  std::vector<float> query(padded);
  for (size_t t = 0; t < seen.queries.rows; ++t) {
    const double by = position_of(t, config.trained_context) - static_cast<double>(t % seen.piece_rows);
    for (size_t q = kv_head * queries; q < (kv_head + 1) * queries; ++q) {
      std::copy_n(seen.queries.row(t) + q * dim, dim, query.begin());
      std::fill(query.begin() + static_cast<std::ptrdiff_t>(dim), query.end(), 0.0F);
      move(query, config, rope, by);
      rotate_groups(query.data(), padded);
      for (size_t g = 0; g < out.size(); ++g) {
        const float* of_group = query.data() + g * kCodeGroup;
        for (size_t i = 0; i < kCodeGroup; ++i) {
          for (size_t j = 0; j < kCodeGroup; ++j) out[g].row(i)[j] += of_group[i] * of_group[j];
        }
      }
    }
  }
  return out;
}

Status damp(Matrix& moments) {
  double trace = 0;
  for (size_t i = 0; i < moments.rows; ++i) trace += moments.row(i)[i];
  if (!std::isfinite(trace)) return fail(ErrorCode::kCorrupt, "queries of the calibration text are no numbers");
  const double mean = trace / static_cast<double>(moments.rows);
  for (size_t i = 0; i < moments.rows; ++i) moments.row(i)[i] += static_cast<float>(mean > 0 ? kDamping * mean : 1.0);
  return {};
}

}  // namespace

Result<std::vector<float>> key_feedback(const LayerStatistics& seen, const ModelConfig& config,
                                        const RopeFrequencies& rope) {
  LOCI_ASSERT(seen.queries.rows > 0 && seen.queries.columns == config.q_width(), "queries have been kept");
  std::vector<float> out;
  for (size_t head = 0; head < config.kv_heads; ++head) {
    for (Matrix& moments : moments_of(seen, config, rope, head)) {
      LOCI_CHECK(damp(moments));
      LOCI_TRY(const Matrix factor, inverse_factor(moments));
      for (size_t d = 0; d < kCodeGroup; ++d) {
        for (size_t later = 0; later < kCodeGroup; ++later) {
          out.push_back(later > d ? factor.row(d)[later] / factor.row(d)[d] : 0.0F);
        }
      }
    }
  }
  return out;
}

}  // namespace loci
