// Scores against keys that are turned to other positions, beside double precision.
#include "attention/primitives/moved_scores.h"

#include <gtest/gtest.h>

#include <cmath>

#include "attention/primitive_arrays.h"
#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci::moved_scores_test {
namespace {

using namespace primitive_arrays;

// The key turned by `move` positions, in double; `x` [dim] at stride `stride`.
std::vector<double> turned(const float* x, uint32_t dim, const std::vector<double>& frequencies, RopePairing pairing,
                           int32_t move) {
  std::vector<double> out(x, x + dim);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const bool adjacent = pairing == RopePairing::kAdjacent;
    double& a = out[adjacent ? 2 * i : i];
    double& b = out[adjacent ? 2 * i + 1 : i + frequencies.size()];
    const double c = std::cos(move * frequencies[i]), s = std::sin(move * frequencies[i]), old = a;
    a = a * c - b * s;
    b = b * c + old * s;
  }
  return out;
}

struct Head {
  std::vector<std::vector<std::byte>> pages;
  std::vector<float> keys;  // [slot][dim], as stored
};

Head head_of(Random& random, const PageLayout& layout, uint32_t slots) {
  Head out;
  std::vector<float> k(layout.head_dim), v(layout.head_dim, 0.5F), tile(size_t{layout.padded_dim} * kPageSlots);
  for (uint32_t slot = 0; slot < slots; ++slot) {
    if (slot % kPageSlots == 0) out.pages.emplace_back(layout.bytes);
    for (float& x : k) x = random.normal();
    encode_entry(layout, out.pages.back().data(), slot % kPageSlots, k.data(), v.data());
    out.keys.insert(out.keys.end(), k.begin(), k.end());
  }
  return out;
}

TEST(MovedScores, AreThoseOfKeysTurnedOn) {
  Random random(90);
  constexpr uint32_t kGroup = 2, kSlots = 150, kMost = 5000;
  for (const KvCodec codec : {KvCodec::kKv16, KvCodec::kKv8, KvCodec::kKv4}) {
    for (const auto& [dim, half] : {std::pair{64u, 32u}, {128u, 64u}, {40u, 12u}}) {
      for (const RopePairing pairing : {RopePairing::kAdjacent, RopePairing::kHalves}) {
        std::vector<double> frequencies;
        for (uint32_t i = 0; i < half; ++i) frequencies.push_back(std::pow(10000.0, -double(i) / half));
        const AngleTable angles(frequencies, kMost);
        const PageLayout layout = page_layout(codec, dim);
        const Head heads[2] = {head_of(random, layout, kSlots), head_of(random, layout, kSlots)};
        std::vector<std::vector<const std::byte*>> pages(2);
        for (int h = 0; h < 2; ++h) {
          for (const auto& page : heads[h].pages) pages[h].push_back(page.data());
        }
        pages[1][1] = nullptr;
        std::vector<int32_t> moves(3 * kPageSlots, 0);
        for (uint32_t s = 0; s < kSlots; ++s) moves[s] = static_cast<int32_t>(random.below(2 * kMost)) - int32_t{kMost};
        const Grid raw = filled(random, 2 * kGroup, dim, false);
        Grid q(2 * kGroup, layout.padded_dim, 0), out(2 * kGroup, 3 * kPageSlots);
        for (uint32_t r = 0; r < 2 * kGroup; ++r) {
          std::fill_n(q.rows.row(r), layout.padded_dim, 0.0F);
          std::copy_n(raw.rows.row(r), dim, q.rows.row(r));
        }
        std::vector<float> once;
        everywhere([&](OpContext& context, const std::string& name) {
          std::fill(out.numbers.begin(), out.numbers.end(), -77.0F);
          moved_scores(context, angles, pairing, {&layout, pages, moves}, q.rows, out.rows);
          // A step of the codec for every dimension, at most.
          const double bound = codec == KvCodec::kKv16 ? 0.02 : codec == KvCodec::kKv8 ? 0.3 : 5.0;
          double error = 0, size = 0;
          for (uint32_t r = 0; r < 2 * kGroup; ++r) {
            for (uint32_t s = 0; s < kSlots; ++s) {
              if (r >= kGroup && s / kPageSlots == 1) {
                ASSERT_EQ(out.rows.row(r)[s], -77.0F) << "a page that nobody wants";
                continue;
              }
              const std::vector<double> key =
                  turned(&heads[r / kGroup].keys[size_t{s} * dim], dim, frequencies, pairing, moves[s]);
              double sum = 0;
              for (uint32_t d = 0; d < dim; ++d) sum += key[d] * raw.rows.row(r)[d];
              ASSERT_NEAR(out.rows.row(r)[s], sum, bound) << name << " " << to_string(codec) << " slot " << s;
              error += std::abs(out.rows.row(r)[s] - sum), size += std::abs(sum);
            }
          }
          EXPECT_LT(error / size, codec == KvCodec::kKv16 ? 1e-3 : codec == KvCodec::kKv8 ? 0.02 : 0.2) << name;
          if (once.empty()) once = out.numbers;
          EXPECT_EQ(out.numbers, once) << name;
        });
      }
    }
  }
}

}  // namespace
}  // namespace loci::moved_scores_test
