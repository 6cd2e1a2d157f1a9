#include "eval/position_curve.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace loci {
namespace {

constexpr uint32_t kFirstBits = 6;  // positions below 64 are one bucket

size_t bucket_of(uint32_t position) {
  const auto bits = static_cast<uint32_t>(std::bit_width(position));
  return bits <= kFirstBits ? 0 : bits - kFirstBits;
}

}  // namespace

std::vector<uint32_t> scored_positions(uint64_t tokens, uint64_t window, uint64_t decode) {
  std::vector<uint32_t> out;
  for (uint64_t begin = 0; begin < tokens; begin += window) {
    const uint64_t end = std::min(window, tokens - begin);
    // The decode steps of a window begin where a whole one's would.
    const uint64_t first = decode == 0 ? 1 : std::max<uint64_t>(window - std::min(window, decode), 1);
    for (uint64_t position = first; position < end; ++position) out.push_back(static_cast<uint32_t>(position));
  }
  return out;
}

std::vector<PositionBucket> position_curve(std::span<const float> nll, std::span<const uint32_t> positions) {
  std::vector<PositionBucket> buckets;
  for (size_t i = 0; i < nll.size(); ++i) {
    const size_t at = bucket_of(positions[i]);
    if (at >= buckets.size()) buckets.resize(at + 1);
    ++buckets[at].tokens;
    buckets[at].mean_nll += static_cast<double>(nll[i]);
  }
  for (size_t i = 0; i < buckets.size(); ++i) {
    buckets[i].first = i == 0 ? 1 : 1U << (i + kFirstBits - 1);
    buckets[i].last = (1U << (i + kFirstBits)) - 1;
    if (buckets[i].tokens > 0) buckets[i].mean_nll /= static_cast<double>(buckets[i].tokens);
  }
  std::erase_if(buckets, [](const PositionBucket& bucket) { return bucket.tokens == 0; });
  return buckets;
}

nlohmann::ordered_json to_json(const PositionBucket& bucket) {
  return {{"first", bucket.first},
          {"last", bucket.last},
          {"tokens", bucket.tokens},
          {"mean_nll", bucket.mean_nll},
          {"ppl", std::exp(bucket.mean_nll)}};
}

}  // namespace loci
