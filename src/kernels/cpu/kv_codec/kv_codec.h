// Writing entries into pages and reading pages as fp32 tiles.
//
// Encoding is the same code on every instruction set, one entry at a time: two to four percent of a pass. Values
// beyond a half's range are clamped to it and NaN becomes 0, so a page never holds an infinity or a NaN: 0
// * x in a masked slot stays 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu.h"
#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

// Encodes one entry into `slot` (0..63): k and v are [head_dim].
//
// kv8 and kv4 round the minimum down and the step up to halves, so codes cover the group and decode(encode(x)) is off
// by at most half a step. Their keys are rotated (rotate_groups) before they are coded.
void encode_entry(const PageLayout& layout, std::byte* page, uint32_t slot, const float* k, const float* v);

struct NewEntries {
  const float* k = nullptr;  // of the first: [head_dim]
  const float* v = nullptr;
  size_t stride = 0;  // floats from one entry's to the next one's
  uint32_t count = 0;
  // Of the first: its key as round_keys() left it, which kv4 stores instead; or null. Numbers may then be off by more
  // than half a step (key_rounding.h).
  const std::byte* rounded_keys = nullptr;
  size_t rounded_stride = 0;  // bytes
};

// Encodes entries into `first_slot` and what follows it, in one page.
void encode_entries(const PageLayout& layout, std::byte* page, uint32_t first_slot, const NewEntries& entries);

// Copies one encoded entry, bit for bit, from a page to another of the same layout.
void copy_entry(const PageLayout& layout, const std::byte* from, uint32_t from_slot, std::byte* to, uint32_t to_slot);
// Copies entries `slots` of a page into to_first, to_first + 1, ... of another of the same layout. Walks through both
// pages in the order of their bytes, so many entries of a page cost little more than one.
void copy_entries(const PageLayout& layout, const std::byte* from, std::span<const uint32_t> slots, std::byte* to,
                  uint32_t to_first);
// The same for values alone; the keys of `to` stay as they are.
void copy_values(const PageLayout& layout, const std::byte* from, std::span<const uint32_t> slots, std::byte* to,
                 uint32_t to_first);

// True if no half of the page (entries of kv16, steps and minimums of the others) is an infinity or a NaN: for pages
// that come from outside.
bool page_is_finite(const PageLayout& layout, const std::byte* page);

struct KvDecodeKernels {
  // tile [padded_dim][64]: a row holds one dimension of 64 keys, rotated if
  // layout.rotated.
  void (*keys)(const PageLayout& layout, const std::byte* page, float* tile);
  // tile [64][padded_dim].
  void (*values)(const PageLayout& layout, const std::byte* page, float* tile);
};

const KvDecodeKernels& kv_decode_kernels(Isa isa);

}  // namespace loci
