// Copies of single encoded entries. Keys and steps lie across slots, so a page is walked dimension by dimension for all
// entries that are wanted of it; the codes of a value share 32-bit words with their neighbours'.
#include <cstring>

#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

class Copy {
 public:
  Copy(const PageLayout& l, const std::byte* f, std::span<const uint32_t> s, std::byte* t, uint32_t first)
      : layout_(l), from_(f), slots_(s), to_(t), to_first_(first) {}

  void keys() const {
    if (layout_.codec == KvCodec::kKv16) {
      for (size_t dim = 0; dim < layout_.padded_dim; ++dim) halves(dim * kPageSlots * 2);
      return;
    }
    const uint32_t per_word = 32 / bits();
    for (size_t dim = 0; dim < layout_.padded_dim; dim += per_word)
      across<uint32_t>([&](uint32_t slot) { return key_word(layout_, per_word, slot, dim); });
    scales(layout_.key_scales, layout_.key_minimums);
  }

  void values() const {
    for (size_t dim = 0; dim < layout_.padded_dim; dim += kCodeGroup) {
      for (size_t i = 0; i < slots_.size(); ++i) {
        const uint32_t to_slot = to_first_ + static_cast<uint32_t>(i);
        if (layout_.codec == KvCodec::kKv16) {
          std::memcpy(to_ + value_half(layout_, to_slot, dim), from_ + value_half(layout_, slots_[i], dim),
                      kCodeGroup * 2);
        } else {
          value_codes(slots_[i], to_slot, dim);
        }
      }
    }
    if (layout_.codec != KvCodec::kKv16) scales(layout_.value_scales, layout_.value_minimums);
  }

 private:
  uint32_t bits() const { return layout_.codec == KvCodec::kKv8 ? 8 : 4; }

  void scales(size_t steps, size_t minimums) const {
    for (const size_t column : {steps, minimums}) {
      for (size_t group = 0; group < layout_.padded_dim / kCodeGroup; ++group) halves(column + group * kPageSlots * 2);
    }
  }

  // A row of numbers across slots: `place` gives the byte offset of a slot's number.
  template <typename Number, typename Place>
  void across(Place place) const {
    for (size_t i = 0; i < slots_.size(); ++i)
      std::memcpy(to_ + place(to_first_ + static_cast<uint32_t>(i)), from_ + place(slots_[i]), sizeof(Number));
  }

  void halves(size_t row) const {
    across<uint16_t>([row](uint32_t slot) { return row + size_t{slot} * 2; });
  }

  uint32_t shift_of(uint32_t slot) const { return slot % 4 * 8 + (bits() == 4 && slot % 8 >= 4 ? 4 : 0); }

  // The codes of 32 dimensions, one in each of as many words.
  void value_codes(uint32_t slot, uint32_t to_slot, size_t dim) const {
    const uint32_t mask = (1u << bits()) - 1, down = shift_of(slot), up = shift_of(to_slot);
    uint32_t source[kCodeGroup], target[kCodeGroup];
    std::byte* at = to_ + value_word(layout_, 32 / bits(), to_slot, dim);
    std::memcpy(source, from_ + value_word(layout_, 32 / bits(), slot, dim), sizeof source);
    std::memcpy(target, at, sizeof target);
    for (uint32_t d = 0; d < kCodeGroup; ++d)
      target[d] = (target[d] & ~(mask << up)) | (((source[d] >> down) & mask) << up);
    std::memcpy(at, target, sizeof target);
  }

  const PageLayout& layout_;
  const std::byte* from_;
  std::span<const uint32_t> slots_;
  std::byte* to_;
  uint32_t to_first_;
};

}  // namespace

void copy_entries(const PageLayout& layout, const std::byte* from, std::span<const uint32_t> slots, std::byte* to,
                  uint32_t to_first) {
  const Copy copy{layout, from, slots, to, to_first};
  copy.keys();
  copy.values();
}

void copy_values(const PageLayout& layout, const std::byte* from, std::span<const uint32_t> slots, std::byte* to,
                 uint32_t to_first) {
  Copy{layout, from, slots, to, to_first}.values();
}

}  // namespace loci
