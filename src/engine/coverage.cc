#include "engine/coverage.h"

#include <algorithm>
#include <cmath>

namespace loci {
namespace {

// |a - b| / |b|; 0 where b is nothing.
double relative_distance(const float* a, const float* b, uint32_t dim) {
  double off = 0, size = 0;
  for (uint32_t d = 0; d < dim; ++d) {
    off += (double{a[d]} - b[d]) * (double{a[d]} - b[d]);
    size += double{b[d]} * b[d];
  }
  return size > 0 ? std::sqrt(off / size) : 0.0;
}

}  // namespace

void CoverageTap::after_read(const View& view, Rows o, std::span<float> lse, TapReader& reader) {
  whole_.resize(size_t{o.rows} * o.width);
  whole_lse_.resize(lse.size());
  const Rows whole{whole_.data(), o.rows, o.width, o.width};
  const std::span<const Table> tables = view.tables();
  for (size_t t = 0; t < tables.size(); ++t) {
    reader.read(t, view.cache.pattern(view.layer, t), whole, whole_lse_);
    for (const KvHead head : tables[t].heads()) {
      Sums& sums =
          (view.phase == Phase::kDecode ? decode_ : prompt_)[size_t{view.layer.value} * model_.kv_heads + head.value];
      for (uint32_t q = head.value * model_.group(); q < (head.value + 1) * model_.group(); ++q) {
        for (uint32_t r = 0; r < o.rows; ++r) {
          const size_t at = size_t{r} * model_.query_heads + q;
          if (!std::isfinite(whole_lse_[at])) continue;  // it sees nothing
          sums.mass += std::min(1.0, std::exp(double{lse[at]} - whole_lse_[at]));
          sums.error += relative_distance(o.row(r) + size_t{q} * model_.head_dim,
                                          whole.row(r) + size_t{q} * model_.head_dim, model_.head_dim);
          ++sums.queries;
        }
      }
    }
  }
}

HeadCoverage CoverageTap::of(Phase phase, size_t head) const {
  const Sums& sums = (phase == Phase::kDecode ? decode_ : prompt_)[head];
  HeadCoverage out;
  out.queries = sums.queries;
  if (sums.queries == 0) return out;
  out.mass = static_cast<float>(sums.mass / static_cast<double>(sums.queries));
  out.error = static_cast<float>(sums.error / static_cast<double>(sums.queries));
  return out;
}

}  // namespace loci
