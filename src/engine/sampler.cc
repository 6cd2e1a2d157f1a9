#include "engine/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

namespace loci {
namespace {

constexpr int kWeightBits = 40;
constexpr float kFarthest = 27.725887F;  // ln 2^40: beyond it the weight is zero
constexpr float kBeyond = 28.0F;         // a distance of weight zero
constexpr float kBucketsPerUnit = 64.0F;
constexpr size_t kBuckets = static_cast<size_t>(kFarthest * kBucketsPerUnit) + 1;
constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();

uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// The order that every selection follows.
bool before(const Sampler::Candidate& a, const Sampler::Candidate& b) {
  return a.score > b.score || (a.score == b.score && a.id < b.id);
}

// 2^40 exp(-x) for x in [0, kBeyond], to 2e-7 relative; exactly 2^40 at 0. Straight-line code, so that a loop over it
// becomes vector code.
[[gnu::always_inline]] inline float scaled_exp(float x) {
  const int n = static_cast<int>(x * 1.44269504F + 0.5F);
  const auto turns = static_cast<float>(n);
  const float r = -((x - turns * 0.693359375F) - turns * -2.12194440e-4F);  // ln 2 in two pieces
  float p = 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  return p * std::bit_cast<float>((127 + kWeightBits - n) << 23);
}

// A weight's whole part; all are at most 2^40.
uint64_t whole(float weight) { return static_cast<uint64_t>(static_cast<int64_t>(weight)); }

// Uniform in [0, total).
uint64_t below(uint64_t random, uint64_t total) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(random) * total >> 64);
}

size_t bucket_of(float distance) { return std::min(kBuckets - 1, static_cast<size_t>(distance * kBucketsPerUnit)); }

uint64_t total_weight(std::span<const Sampler::Candidate> candidates) {
  uint64_t total = 0;
  for (const auto& c : candidates) total += c.weight;
  return total;
}

// The first candidate, in order, at which the running weight reaches `goal` (>= 1, at most the weight of all of them).
Sampler::Candidate weighted_select(std::span<Sampler::Candidate> range, uint64_t goal) {
  while (range.size() > 1) {
    const size_t half = range.size() / 2;
    std::nth_element(range.begin(), range.begin() + static_cast<std::ptrdiff_t>(half), range.end(), before);
    const uint64_t front = total_weight(range.first(half));
    if (front >= goal) {
      range = range.first(half);
    } else {
      goal -= front;
      range = range.subspan(half);
    }
  }
  return range.front();
}

}  // namespace

Status check(const Sampling& s) {
  constexpr auto kCode = ErrorCode::kInvalidArgument;
  if (!(s.temperature >= 0.0F) || std::isinf(s.temperature)) {
    return fail(kCode, "the temperature is {}, it must be 0 (greedy) or a positive number", s.temperature);
  }
  if (!(s.top_p >= 0.0F && s.top_p <= 1.0F)) return fail(kCode, "top_p is {}, it must lie in [0, 1]", s.top_p);
  if (!(s.min_p >= 0.0F && s.min_p <= 1.0F)) return fail(kCode, "min_p is {}, it must lie in [0, 1]", s.min_p);
  if (!(s.repetition_penalty > 0.0F) || std::isinf(s.repetition_penalty)) {
    return fail(kCode, "the repetition penalty is {}, it must be a positive number (1: off)", s.repetition_penalty);
  }
  for (const auto& [name, penalty] : {std::pair{"presence", s.presence_penalty}, {"frequency", s.frequency_penalty}}) {
    if (!(penalty >= -2.0F && penalty <= 2.0F))
      return fail(kCode, "the {} penalty is {}, it must lie in [-2, 2]", name, penalty);
  }
  for (const LogitBias& bias : s.logit_bias) {
    if (bias.token < 0 || !(bias.bias >= -100.0F && bias.bias <= 100.0F)) {
      return fail(kCode, "the bias of token {} is {}, it must lie in [-100, 100] and the token in the vocabulary",
                  bias.token, bias.bias);
    }
  }
  return {};
}

uint64_t random_number(uint64_t seed, uint64_t position) {
  constexpr uint64_t kStep = 0x9e3779b97f4a7c15ULL;
  return mix(mix(seed + kStep) + (position + 1) * kStep);
}

Sampler::Sampler(const Sampling& sampling) : sampling_(sampling) {}

Result<TokenId> Sampler::sample(std::span<const float> logits, std::span<const TokenId> recent, uint64_t position) {
  if (sampling_.temperature == 0.0F) {
    LOCI_TRY(const auto scores, penalised(logits, recent));
    LOCI_TRY(const Best top, best(scores));
    return top.id;
  }
  const uint64_t random = random_number(sampling_.seed, position);
  if (sampling_.top_k == 0 && sampling_.top_p >= 1.0F && sampling_.min_p <= 0.0F) {
    LOCI_TRY(const auto scores, penalised(logits, recent));
    LOCI_TRY(const Best top, best(scores));
    return draw_from_all(scores, top.score, random);
  }
  LOCI_TRY(const auto kept, candidates(logits, recent));
  uint64_t left = below(random, total_weight(kept));
  for (const Candidate& c : kept) {
    if (left < c.weight) return c.id;
    left -= c.weight;
  }
  return fail(ErrorCode::kInternal, "no token was drawn from {} candidates", kept.size());
}

// As from candidates(), all of them, which need not be listed then.
Result<TokenId> Sampler::draw_from_all(std::span<const float> scores, float top, uint64_t random) {
  distances_.resize(scores.size());
  const float temperature = sampling_.temperature;
  for (size_t i = 0; i < scores.size(); ++i) {
    const float distance = (top - scores[i]) / temperature;
    distances_[i] = distance <= kFarthest ? distance : kBeyond;
  }
  // A loop of its own: with the choice above in it, compilers make no vector code of it.
  for (float& d : distances_) d = scaled_exp(d);
  uint64_t total = 0;
  for (const float weight : distances_) total += whole(weight);
  uint64_t left = below(random, total);
  for (size_t i = 0; i < scores.size(); ++i) {
    const uint64_t weight = whole(distances_[i]);
    if (left < weight) return static_cast<TokenId>(i);
    left -= weight;
  }
  return fail(ErrorCode::kInternal, "no token was drawn from {} scores", scores.size());
}

Result<std::span<const Sampler::Candidate>> Sampler::candidates(std::span<const float> logits,
                                                                std::span<const TokenId> recent) {
  LOCI_TRY(const auto scores, penalised(logits, recent));
  LOCI_TRY(const Best top, best(scores));
  chosen_.clear();
  if (sampling_.temperature == 0.0F) {
    chosen_.push_back({top.id, top.score, uint64_t{1} << kWeightBits});
    return std::span<const Candidate>(chosen_);
  }
  gather(scores, top.score);
  if (sampling_.top_k > 0 && sampling_.top_k < chosen_.size()) {
    const Candidate last = last_of_top_k();
    retain([&](const Candidate& c) { return !before(last, c); });
  }
  weigh(top.score);
  if (sampling_.top_p < 1.0F) {
    const Candidate last = last_of_top_p(top.score);
    retain([&](const Candidate& c) { return !before(last, c); });
  }
  if (sampling_.min_p > 0.0F) {
    const auto least = static_cast<uint64_t>(std::ceil(std::ldexp(double{sampling_.min_p}, kWeightBits)));
    retain([&](const Candidate& c) { return c.weight >= least; });
  }
  return std::span<const Candidate>(chosen_);
}

// Divides the positive and multiplies the negative scores of the last tokens, each once.
Result<std::span<const float>> Sampler::penalised(std::span<const float> logits, std::span<const TokenId> recent) {
  const float penalty = sampling_.repetition_penalty;
  recent = recent.last(std::min<size_t>(recent.size(), sampling_.repetition_window));
  if (penalty == 1.0F || recent.empty()) return logits;
  recent_.assign(recent.begin(), recent.end());
  std::sort(recent_.begin(), recent_.end());
  recent_.erase(std::unique(recent_.begin(), recent_.end()), recent_.end());
  if (recent_.front() < 0 || static_cast<size_t>(recent_.back()) >= logits.size()) {
    return fail(ErrorCode::kInternal, "token {} was fed to a model that has {} tokens",
                recent_.front() < 0 ? recent_.front() : recent_.back(), logits.size());
  }
  scores_.assign(logits.begin(), logits.end());
  for (const TokenId id : recent_) {
    float& score = scores_[static_cast<size_t>(id)];
    score = score > 0.0F ? score / penalty : score * penalty;
  }
  return std::span<const float>(scores_);
}

Result<Sampler::Best> Sampler::best(std::span<const float> scores) {
  // Sixteen running maxima, so that the loop becomes vector code.
  constexpr size_t kLanes = 16;
  float top[kLanes];
  uint32_t bad[kLanes] = {};
  std::fill(top, top + kLanes, kNegativeInfinity);
  const size_t whole = scores.size() / kLanes * kLanes;
  const auto look = [&](size_t lane, float x) {
    top[lane] = x > top[lane] ? x : top[lane];
    bad[lane] |= static_cast<uint32_t>(!(x < std::numeric_limits<float>::infinity()));
  };
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) look(lane, scores[i + lane]);
  }
  for (size_t i = whole; i < scores.size(); ++i) look(i - whole, scores[i]);
  if (std::any_of(bad, bad + kLanes, [](uint32_t b) { return b != 0; })) {
    const auto at = std::find_if(scores.begin(), scores.end(),
                                 [](float x) { return !(x < std::numeric_limits<float>::infinity()); });
    return fail(ErrorCode::kInternal, "the logit of token {} is {}, nothing can be drawn from it", at - scores.begin(),
                *at);
  }
  const float score = *std::max_element(top, top + kLanes);
  if (score == kNegativeInfinity) {
    return fail(ErrorCode::kInternal, "none of {} logits is above -infinity, nothing can be drawn", scores.size());
  }
  const auto at = std::find(scores.begin(), scores.end(), score);
  return Best{static_cast<TokenId>(at - scores.begin()), score};
}

// Fills chosen_ with the tokens whose weight is not zero, by ascending id.
void Sampler::gather(std::span<const float> scores, float top) {
  chosen_.resize(scores.size());
  partial_.reserve(scores.size());
  size_t count = 0;
  const float temperature = sampling_.temperature;
  for (size_t i = 0; i < scores.size(); ++i) {
    chosen_[count] = {static_cast<TokenId>(i), scores[i], 0};
    count += static_cast<size_t>((top - scores[i]) / temperature <= kFarthest);
  }
  chosen_.resize(count);
}

// The k-th of the order. Scanned by ascending id with a bar that rises: what does not exceed it cannot be among the
// first k, since an equal score with a higher id comes later.
Sampler::Candidate Sampler::last_of_top_k() {
  const size_t k = sampling_.top_k;
  const size_t room = 2 * k + 64;
  const auto kth = [&] { return partial_.begin() + static_cast<std::ptrdiff_t>(k - 1); };
  partial_.clear();
  float bar = kNegativeInfinity;
  for (const Candidate& c : chosen_) {
    if (!(c.score > bar)) continue;
    partial_.push_back(c);
    if (partial_.size() < room) continue;
    std::nth_element(partial_.begin(), kth(), partial_.end(), before);
    bar = kth()->score;
    partial_.resize(k);
  }
  std::nth_element(partial_.begin(), kth(), partial_.end(), before);
  return *kth();
}

void Sampler::weigh(float top) {
  distances_.resize(chosen_.size());
  const float temperature = sampling_.temperature;
  for (size_t i = 0; i < chosen_.size(); ++i) distances_[i] = (top - chosen_[i].score) / temperature;
  for (float& d : distances_) d = scaled_exp(d);
  for (size_t i = 0; i < chosen_.size(); ++i) chosen_[i].weight = whole(distances_[i]);
}

// Weights are summed by distance first, so that only the bucket in which the sum crosses top_p is put in order.
Sampler::Candidate Sampler::last_of_top_p(float top) {
  const auto bucket = [&](const Candidate& c) { return bucket_of((top - c.score) / sampling_.temperature); };
  buckets_.assign(kBuckets, 0);
  for (const Candidate& c : chosen_) buckets_[bucket(c)] += c.weight;
  const auto total = static_cast<double>(total_weight(chosen_));
  const auto goal = std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(double{sampling_.top_p} * total)));
  uint64_t sum = 0;
  size_t crossing = 0;
  while (sum + buckets_[crossing] < goal && crossing + 1 < kBuckets) sum += buckets_[crossing++];
  partial_.clear();
  for (const Candidate& c : chosen_) {
    if (bucket(c) == crossing) partial_.push_back(c);
  }
  return weighted_select(partial_, goal - sum);
}

template <typename Keep>
void Sampler::retain(Keep keep) {
  chosen_.erase(std::remove_if(chosen_.begin(), chosen_.end(), [&](const Candidate& c) { return !keep(c); }),
                chosen_.end());
}

}  // namespace loci
