#include "calibrate/quantize/attention_error.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "kernels/cpu/kv_codec/hadamard.h"
#include "kernels/cpu/kv_codec/key_rounding.h"
#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

constexpr size_t kRowStep = 8;  // every eighth row is read

// Rows of one head: [tokens, head_dim].
Matrix head_of(const Matrix& m, size_t head, size_t dim) {
  Matrix out(m.rows, dim);
  for (size_t t = 0; t < m.rows; ++t) std::copy_n(m.row(t) + head * dim, dim, out.row(t));
  return out;
}

// Keys and values as they come back from pages.
void store_and_read(KvCodec codec, Matrix& keys, Matrix& values, const KeyFeedback* feedback) {
  const PageLayout layout = page_layout(codec, static_cast<uint32_t>(keys.columns));
  const KvDecodeKernels& decode = kv_decode_kernels(Isa::kScalar);
  const size_t key_bytes = rounded_key_bytes(layout.padded_dim);
  std::vector<std::byte> page(layout.bytes), rounded(kPageSlots * key_bytes);
  std::vector<float> tile(size_t{kPageSlots} * layout.padded_dim), row(layout.padded_dim);
  for (size_t first = 0; first < keys.rows; first += kPageSlots) {
    const size_t count = std::min<size_t>(kPageSlots, keys.rows - first);
    std::fill(page.begin(), page.end(), std::byte{0});
    if (feedback != nullptr) {
      const auto width = static_cast<uint32_t>(keys.columns);
      const Rows of_page{keys.row(first), static_cast<uint32_t>(count), width, width};
      round_keys(Isa::kScalar, layout, *feedback, of_page, rounded.data());
    }
    encode_entries(layout, page.data(), 0,
                   {.k = keys.row(first),
                    .v = values.row(first),
                    .stride = keys.columns,
                    .count = static_cast<uint32_t>(count),
                    .rounded_keys = feedback != nullptr ? rounded.data() : nullptr,
                    .rounded_stride = key_bytes});
    decode.keys(layout, page.data(), tile.data());
    for (size_t i = 0; i < count; ++i) {
      for (size_t d = 0; d < layout.padded_dim; ++d) row[d] = tile[d * kPageSlots + i];
      if (layout.rotated) rotate_groups(row.data(), layout.padded_dim);
      std::copy_n(row.begin(), keys.columns, keys.row(first + i));
    }
    decode.values(layout, page.data(), tile.data());
    for (size_t i = 0; i < count; ++i)
      std::copy_n(tile.data() + i * layout.padded_dim, values.columns, values.row(first + i));
  }
}

// A row of a head's attention over tokens [first, last].
std::vector<double> attend(const float* query, const Matrix& keys, const Matrix& values, size_t first, size_t last,
                           double scale) {
  std::vector<double> weights(last + 1 - first);
  for (size_t t = first; t <= last; ++t) {
    double score = 0;
    for (size_t d = 0; d < keys.columns; ++d) score += double{query[d]} * keys.row(t)[d];
    weights[t - first] = score * scale;
  }
  const double largest = *std::max_element(weights.begin(), weights.end());
  double sum = 0;
  for (double& w : weights) sum += w = std::exp(w - largest);
  std::vector<double> out(values.columns);
  for (size_t t = first; t <= last; ++t) {
    for (size_t d = 0; d < out.size(); ++d) out[d] += weights[t - first] / sum * values.row(t)[d];
  }
  return out;
}

}  // namespace

AttentionErrors attention_errors(const LayerStatistics& seen, const ModelConfig& config, KvCodec codec, bool values,
                                 ThreadPool& pool, const std::vector<float>* feedback) {
  const size_t tokens = std::min(seen.queries.rows, seen.keys.rows), dim = config.head_dim;
  const size_t group = config.query_heads / config.kv_heads;
  AttentionErrors out{std::vector<double>(config.kv_heads), std::vector<double>(config.kv_heads)};
  pool.parallel_for(config.kv_heads, [&](size_t head, int) {
    const Matrix k = head_of(seen.keys, head, dim), v = head_of(seen.values, head, dim);
    Matrix stored_k = k, stored_v = v;
    std::optional<KeyFeedback> of_head;
    if (feedback != nullptr) {
      const size_t size = feedback->size() / config.kv_heads;
      of_head.emplace(std::span(*feedback).subspan(head * size, size), 1,
                      page_layout(codec, config.head_dim).padded_dim);
    }
    store_and_read(codec, stored_k, stored_v, of_head ? &*of_head : nullptr);
    if (!values) stored_v = v;
    for (size_t q = head * group; q < (head + 1) * group; ++q) {
      for (size_t t = 0; t < tokens; t += kRowStep) {
        const size_t in_piece = t % seen.piece_rows, first = t - in_piece;
        if (in_piece < seen.piece_rows / 2) continue;
        const float* query = seen.queries.row(t) + q * dim;
        const std::vector<double> right = attend(query, k, v, first, t, config.score_scale);
        const std::vector<double> got = attend(query, stored_k, stored_v, first, t, config.score_scale);
        for (size_t d = 0; d < dim; ++d) {
          out.off[head] += (right[d] - got[d]) * (right[d] - got[d]);
          out.size[head] += right[d] * right[d];
        }
      }
    }
  });
  return out;
}

double AttentionErrors::share() const {
  const double all_off = std::accumulate(off.begin(), off.end(), 0.0);
  const double all_size = std::accumulate(size.begin(), size.end(), 0.0);
  return all_size > 0 ? std::sqrt(all_off / all_size) : 0;
}

double attention_error(const LayerStatistics& seen, const ModelConfig& config, KvCodec codec, bool values,
                       ThreadPool& pool, const std::vector<float>* feedback) {
  return attention_errors(seen, config, codec, values, pool, feedback).share();
}

double key_outliers(const LayerStatistics& seen, const ModelConfig& config) {
  double most = 0;
  const std::vector<float> all = seen.key_spans();
  for (size_t head = 0; head < config.kv_heads; ++head) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(head * config.head_dim);
    std::vector<float> spans(begin, begin + config.head_dim);
    std::sort(spans.begin(), spans.end());
    const float median = spans[spans.size() / 2];
    if (median > 0) most = std::max(most, double{spans.back()} / median);
  }
  return most;
}

}  // namespace loci
