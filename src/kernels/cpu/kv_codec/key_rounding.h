// Rounding keys to codes so that scores come out right rather than numbers.
//
// A score is off by q.e, e being what rounding puts a key off by. Dimensions are rounded one after the other, and what
// one is off by is taken out of the later ones of its group, in the shares that make up for it under queries as
// calibration met them: GPTQ's rounding (arXiv:2210.17323, section 3) with keys for weights and queries for inputs.
// Shares come with a calibrated model (`attn_k.feedback`); without them each number is rounded by itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/cpu.h"
#include "kernels/cpu/kv_codec/page_layout.h"
#include "tensor/rows.h"

namespace loci {

inline constexpr uint32_t kKeyLanes = 8;    // groups of dimensions that are rounded side by side
inline constexpr uint32_t kKeyEntries = 4;  // entries that are

// Numbers that a layer's feedback of one KV head has.
constexpr size_t feedback_size(uint32_t padded_dim) { return size_t{padded_dim} * kCodeGroup; }

// The feedback of some KV heads of a layer.
class KeyFeedback {
 public:
  // shares [heads][padded_dim][kCodeGroup]: row d has what of an error of dimension d each later one of its group takes
  // up; what stands at d and before is not read.
  KeyFeedback(std::span<const float> shares, uint32_t heads, uint32_t padded_dim);

  uint32_t heads() const { return heads_; }
  // Of groups kKeyLanes * block and on, by head and group: [d][later than d][kKeyLanes].
  const float* lanes(uint32_t block) const { return lanes_.data() + block * kLaneBlock; }

 private:
  static constexpr size_t kLaneBlock = size_t{kCodeGroup} * (kCodeGroup - 1) / 2 * kKeyLanes;

  uint32_t heads_;
  std::vector<float> lanes_;
};

// A 4-bit key outside of a page: a byte for each code [padded_dim], then the groups' steps and minimums as halves.
constexpr size_t rounded_key_bytes(uint32_t padded_dim) {
  return padded_dim + size_t{padded_dim} / kCodeGroup * 2 * sizeof(uint16_t);
}

// Rounds keys for kv4: k [entries, heads * head_dim] to out [entries][heads][rounded_key_bytes]. Steps and minimums are
// those of encode_entry(). Whatever the feedback holds, codes are 0 to 15. The same operations in the same order on
// every instruction set, whatever entries come together.
void round_keys(Isa isa, const PageLayout& layout, const KeyFeedback& feedback, const Rows& k, std::byte* out);

}  // namespace loci
