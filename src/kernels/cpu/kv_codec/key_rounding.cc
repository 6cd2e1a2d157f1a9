#include "kernels/cpu/kv_codec/key_rounding.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "kernels/cpu/kv_codec/encode.h"
#include "kernels/cpu/kv_codec/key_lanes.h"

namespace loci {

KeyFeedback::KeyFeedback(std::span<const float> shares, uint32_t heads, uint32_t padded_dim) : heads_(heads) {
  LOCI_ASSERT(shares.size() == heads * feedback_size(padded_dim), "a matrix for each group of each head");
  const size_t groups = shares.size() / (kCodeGroup * kCodeGroup), blocks = (groups + kKeyLanes - 1) / kKeyLanes;
  lanes_.resize(blocks * kLaneBlock);
  for (size_t group = 0; group < groups; ++group) {
    const float* from = shares.data() + group * kCodeGroup * kCodeGroup;
    float* to = lanes_.data() + group / kKeyLanes * kLaneBlock + group % kKeyLanes;
    for (size_t d = 0; d < kCodeGroup; ++d) {
      for (size_t later = d + 1; later < kCodeGroup; ++later, to += kKeyLanes) *to = from[d * kCodeGroup + later];
    }
  }
}

namespace detail {

void round_lanes_scalar(KeyLanes<1>& lanes, const float* shares) { round_lanes(lanes, shares); }
void round_lanes_scalar(KeyLanes<kKeyEntries>& lanes, const float* shares) { round_lanes(lanes, shares); }

namespace {

template <uint32_t kEntries>
void round_lanes_on(Isa isa, KeyLanes<kEntries>& lanes, const float* shares) {
#if defined(__x86_64__)
  if (isa != Isa::kScalar) return round_lanes_avx2(lanes, shares);
#endif
  (void)isa;
  round_lanes_scalar(lanes, shares);
}

class KeyRounder {
 public:
  KeyRounder(Isa isa, const PageLayout& layout, const KeyFeedback& feedback)
      : isa_(isa), layout_(layout), feedback_(feedback), groups_(layout.padded_dim / kCodeGroup) {}

  size_t entry_bytes() const { return feedback_.heads() * key_bytes_; }

  // kEntries rows of k.
  template <uint32_t kEntries>
  void round(const Rows& k, uint32_t first_entry, std::byte* out) const {
    const uint32_t all = feedback_.heads() * groups_;
    for (uint32_t first = 0; first < all; first += kKeyLanes) {
      const uint32_t count = std::min(kKeyLanes, all - first);
      KeyLanes<kEntries> lanes{};
      for (uint32_t e = 0; e < kEntries; ++e)
        fill(lanes, e, k.row(first_entry + e), first, count, out + e * entry_bytes());
      round_lanes_on(isa_, lanes, feedback_.lanes(first / kKeyLanes));
      for (uint32_t e = 0; e < kEntries; ++e) {
        for (uint32_t lane = 0; lane < count; ++lane) {
          std::byte* codes = key(out + e * entry_bytes(), first + lane) + (first + lane) % groups_ * kCodeGroup;
          for (uint32_t d = 0; d < kCodeGroup; ++d) codes[d] = static_cast<std::byte>(lanes.codes[d][e][lane]);
        }
      }
    }
  }

 private:
  // Where the key of a lane's head goes.
  std::byte* key(std::byte* entry, uint32_t lane) const { return entry + lane / groups_ * key_bytes_; }

  // Numbers and scales of `count` groups of an entry, from the first-th on.
  template <uint32_t kEntries>
  void fill(KeyLanes<kEntries>& lanes, uint32_t e, const float* k, uint32_t first, uint32_t count,
            std::byte* out) const {
    float numbers[kMaxHeadDim];
    for (uint32_t lane = 0; lane < count; ++lane) {
      const uint32_t head = (first + lane) / groups_, group = (first + lane) % groups_;
      if (lane == 0 || group == 0) rotate_key(layout_, k + size_t{head} * layout_.head_dim, numbers);
      const float* x = numbers + size_t{group} * kCodeGroup;
      const GroupScale scale = group_scale(x, 15.0F);
      std::byte* scales = key(out, first + lane) + layout_.padded_dim + group * sizeof(uint16_t);
      std::memcpy(scales, &scale.step.bits, sizeof(uint16_t));
      std::memcpy(scales + groups_ * sizeof(uint16_t), &scale.minimum.bits, sizeof(uint16_t));
      lanes.steps[e][lane] = to_float(scale.step);
      lanes.minimums[e][lane] = to_float(scale.minimum);
      for (uint32_t d = 0; d < kCodeGroup; ++d) lanes.numbers[d][e][lane] = x[d];
    }
  }

  Isa isa_;
  const PageLayout& layout_;
  const KeyFeedback& feedback_;
  uint32_t groups_;
  size_t key_bytes_ = rounded_key_bytes(layout_.padded_dim);
};

}  // namespace
}  // namespace detail

void round_keys(Isa isa, const PageLayout& layout, const KeyFeedback& feedback, const Rows& k, std::byte* out) {
  const detail::KeyRounder rounder(isa, layout, feedback);
  uint32_t entry = 0;
  for (; entry + kKeyEntries <= k.rows; entry += kKeyEntries)
    rounder.round<kKeyEntries>(k, entry, out + entry * rounder.entry_bytes());
  for (; entry < k.rows; ++entry) rounder.round<1>(k, entry, out + entry * rounder.entry_bytes());
}

}  // namespace loci
