#include "calibrate/quantize/key_feedback.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "calibrate/quantize/attention_error.h"
#include "kernels/cpu/kv_codec/hadamard.h"
#include "kernels/cpu/kv_codec/key_rounding.h"
#include "kernels/cpu/kv_codec/kv_codec.h"
#include "model/config.h"

namespace loci {
namespace {

constexpr uint32_t kDim = 64, kHeads = 2, kPiece = 256;

ModelConfig two_heads(RopePairing pairing) {
  ModelConfig config;
  config.query_heads = 2 * kHeads;
  config.kv_heads = kHeads;
  config.head_dim = kDim;
  config.trained_context = 4096;
  config.rope_pairing = pairing;
  config.score_scale = 1.0F / 8;
  config.rope.push_back(plain_rope(10000.0, kDim));
  return config;
}

void rotate_to(std::vector<float>& x, const ModelConfig& config, double position) {
  const auto& frequencies = config.rope[0].inverse_frequencies;
  for (size_t pair = 0; pair < frequencies.size(); ++pair) {
    const bool halves = config.rope_pairing == RopePairing::kHalves;
    float& a = x[halves ? pair : 2 * pair];
    float& b = x[halves ? pair + frequencies.size() : 2 * pair + 1];
    const double angle = frequencies[pair] * position, c = std::cos(angle), s = std::sin(angle);
    const double moved_a = a * c - b * s, moved_b = a * s + b * c;
    a = static_cast<float>(moved_a);
    b = static_cast<float>(moved_b);
  }
}

class CalibratedFeedback : public testing::TestWithParam<RopePairing> {
 protected:
  CalibratedFeedback() : config_(two_heads(GetParam())) {
    for (std::vector<float>& direction : directions_) direction = numbers();
    seen_.piece_rows = kPiece;
    seen_.queries = Matrix(2 * kPiece, config_.q_width());
    seen_.keys = seen_.values = Matrix(2 * kPiece, config_.kv_width());
    for (size_t t = 0; t < seen_.queries.rows; ++t) {
      for (uint32_t h = 0; h < config_.query_heads; ++h) {
        const std::vector<float> q = query(static_cast<double>(t % kPiece));
        std::copy(q.begin(), q.end(), seen_.queries.row(t) + h * kDim);
      }
      for (size_t k = 0; k < seen_.keys.columns; ++k) {
        seen_.keys.row(t)[k] = normal_(random_);
        seen_.values.row(t)[k] = normal_(random_);
      }
    }
  }

  std::vector<float> numbers() {
    std::vector<float> out(kDim);
    for (float& x : out) x = normal_(random_);
    return out;
  }
  // Queries lie near a few directions before they are turned to their position.
  std::vector<float> query(double position) {
    std::vector<float> out(kDim);
    for (const std::vector<float>& direction : directions_) {
      const float by = normal_(random_);
      for (uint32_t d = 0; d < kDim; ++d) out[d] += by * direction[d];
    }
    for (float& x : out) x += 0.1F * normal_(random_);
    rotate_to(out, config_, position);
    return out;
  }
  // Of the scores of queries at `position` with random keys stored in 4 bits: mean squares of what they are off by.
  double score_error(double position, std::span<const float> shares) {
    const PageLayout layout = page_layout(KvCodec::kKv4, kDim);
    std::vector<float> keys, tile(size_t{kDim} * kPageSlots), page_keys;
    for (uint32_t i = 0; i < kPageSlots; ++i) {
      const std::vector<float> k = numbers();
      keys.insert(keys.end(), k.begin(), k.end());
    }
    const size_t bytes = rounded_key_bytes(kDim);
    std::vector<std::byte> page(layout.bytes), rounded(kPageSlots * bytes);
    if (!shares.empty()) {
      const Rows rows{keys.data(), kPageSlots, kDim, kDim};
      round_keys(Isa::kScalar, layout, KeyFeedback(shares, 1, kDim), rows, rounded.data());
    }
    encode_entries(layout, page.data(), 0,
                   {.k = keys.data(),
                    .v = keys.data(),
                    .stride = kDim,
                    .count = kPageSlots,
                    .rounded_keys = shares.empty() ? nullptr : rounded.data(),
                    .rounded_stride = bytes});
    kv_decode_kernels(Isa::kScalar).keys(layout, page.data(), tile.data());
    double sum = 0;
    for (int round = 0; round < 64; ++round) {
      std::vector<float> q = query(position), turned = q;
      rotate_groups(turned.data(), kDim);
      for (uint32_t slot = 0; slot < kPageSlots; ++slot) {
        double off = 0;
        for (uint32_t d = 0; d < kDim; ++d)
          off += turned[d] * tile[size_t{d} * kPageSlots + slot] - q[d] * keys[size_t{slot} * kDim + d];
        sum += off * off;
      }
    }
    return sum;
  }

  std::mt19937 random_{7};
  std::normal_distribution<float> normal_;
  ModelConfig config_;
  std::vector<float> directions_[4];
  LayerStatistics seen_;
};

TEST_P(CalibratedFeedback, ScoresAreNearerOverTheContext) {
  const Result<std::vector<float>> feedback = key_feedback(seen_, config_, config_.rope[0]);
  ASSERT_TRUE(feedback.ok()) << feedback.error().message;
  ASSERT_EQ(feedback->size(), kHeads * feedback_size(kDim));
  double plain = 0, compensated[kHeads] = {};
  for (double position = 31; position < config_.trained_context; position += 127) {
    plain += score_error(position, {});
    for (size_t head = 0; head < kHeads; ++head)
      compensated[head] +=
          score_error(position, std::span(*feedback).subspan(head * feedback_size(kDim), feedback_size(kDim)));
  }
  for (const double c : compensated) EXPECT_LT(c, 0.9 * plain);
}

// Queries that do not turn are the ones that can be made up for in full.
TEST_P(CalibratedFeedback, AttentionOverStoredKeysIsNearer) {
  config_.rope[0].inverse_frequencies.assign(kDim / 2, 0.0F);
  for (size_t t = 0; t < seen_.queries.rows; ++t) {
    for (uint32_t h = 0; h < config_.query_heads; ++h) {
      const std::vector<float> q = query(0);
      std::copy(q.begin(), q.end(), seen_.queries.row(t) + h * kDim);
    }
  }
  const std::vector<float> feedback = *key_feedback(seen_, config_, config_.rope[0]);
  ThreadPool pool(2);
  const AttentionErrors plain = attention_errors(seen_, config_, KvCodec::kKv4, false, pool);
  const AttentionErrors compensated = attention_errors(seen_, config_, KvCodec::kKv4, false, pool, &feedback);
  const AttentionErrors eight = attention_errors(seen_, config_, KvCodec::kKv8, false, pool, &feedback);
  for (size_t head = 0; head < kHeads; ++head) {
    EXPECT_LT(compensated.off[head], 0.3 * plain.off[head]);
    EXPECT_LT(eight.off[head], 0.1 * compensated.off[head]);
  }
}

TEST_P(CalibratedFeedback, OnlyLaterDimensionsTakeErrorsUp) {
  const std::vector<float> feedback = *key_feedback(seen_, config_, config_.rope[0]);
  for (size_t i = 0; i < feedback.size(); ++i) {
    const size_t d = i / kCodeGroup % kCodeGroup, to = i % kCodeGroup;
    ASSERT_TRUE(to > d || feedback[i] == 0.0F) << i;
  }
}

TEST_P(CalibratedFeedback, QueriesThatSayNothingLeaveRoundingAlone) {
  seen_.queries = Matrix(seen_.queries.rows, seen_.queries.columns);
  const std::vector<float> feedback = *key_feedback(seen_, config_, config_.rope[0]);
  EXPECT_EQ(feedback, std::vector<float>(kHeads * feedback_size(kDim)));
  seen_.queries.row(3)[5] = std::nanf("");
  EXPECT_EQ(key_feedback(seen_, config_, config_.rope[0]).error().code, ErrorCode::kCorrupt);
}

INSTANTIATE_TEST_SUITE_P(Pairings, CalibratedFeedback, testing::Values(RopePairing::kHalves, RopePairing::kAdjacent),
                         [](const auto& p) { return p.param == RopePairing::kHalves ? "Halves" : "Adjacent"; });

}  // namespace
}  // namespace loci
