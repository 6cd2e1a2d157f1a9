#include "attention/primitives/sets.h"

#include <algorithm>
#include <bit>

#include "kernels/cpu/select/select_kernels.h"

namespace loci {
namespace {

void set_bits(std::span<uint64_t> words, uint32_t begin, uint32_t end) {
  for (uint32_t at = begin; at < end;) {
    const uint32_t bit = at % 64, count = std::min(64 - bit, end - at);
    const uint64_t ones = count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
    words[at / 64] |= ones << bit;
    at += count;
  }
}

void check_same(const Masks& a, const Masks& b) {
  LOCI_ASSERT(a.rows == b.rows && a.width == b.width, "masks of one shape");
}

}  // namespace

void clear(Masks masks) { std::fill_n(masks.words, masks.rows * masks.row_words(), uint64_t{0}); }

void mark_window(Masks masks, uint32_t first, uint32_t last, Lengths lengths) {
  for (size_t r = 0; r < masks.rows; ++r) {
    const uint32_t length = length_of(lengths, r, masks.width);
    set_bits(masks.row(r), 0, std::min(first, length));
    set_bits(masks.row(r), length - std::min(last, length), length);
  }
}

void mark_range(Masks masks, uint32_t begin, uint32_t end, Lengths lengths) {
  for (size_t r = 0; r < masks.rows; ++r) {
    set_bits(masks.row(r), begin, std::min(end, length_of(lengths, r, masks.width)));
  }
}

void mark_lists(const Lists& lists, Masks masks) {
  LOCI_ASSERT(lists.rows == masks.rows, "a list for every mask");
  for (size_t r = 0; r < lists.rows; ++r) {
    for (const uint32_t e : lists.row(r)) masks.row(r)[e / 64] |= uint64_t{1} << e % 64;
  }
}

void mark_at_least(OpContext& context, const Rows& x, std::span<const float> thresholds, Masks masks, Lengths lengths) {
  LOCI_ASSERT(masks.rows == x.rows && masks.width == x.width, "masks of the shape of the scores");
  LOCI_ASSERT(thresholds.size() == 1 || thresholds.size() >= x.rows, "one threshold, or one for every row");
  const SelectKernels& kernels = select_kernels(context.isa);
  context.pool.parallel_for(x.rows, [&](size_t r, int) {
    const uint32_t length = length_of(lengths, r, x.width);
    const std::span<uint64_t> words = masks.row(r);
    kernels.mark_at_least(x.row(r), length, thresholds[thresholds.size() == 1 ? 0 : r], words.data());
    std::fill(words.begin() + static_cast<std::ptrdiff_t>(Masks::words_of(length)), words.end(), uint64_t{0});
  });
}

void unite(Masks into, const Masks& from) {
  check_same(into, from);
  for (size_t i = 0; i < into.rows * into.row_words(); ++i) into.words[i] |= from.words[i];
}

void subtract(Masks into, const Masks& from) {
  check_same(into, from);
  for (size_t i = 0; i < into.rows * into.row_words(); ++i) into.words[i] &= ~from.words[i];
}

void unite_rows(const Masks& masks, uint32_t group, Masks out) {
  LOCI_ASSERT(group > 0 && masks.rows == out.rows * group && masks.width == out.width, "rows come in whole groups");
  for (size_t r = 0; r < out.rows; ++r) {
    const std::span<uint64_t> to = out.row(r);
    std::copy_n(masks.row(r * group).begin(), to.size(), to.begin());
    for (size_t g = 1; g < group; ++g) {
      for (size_t i = 0; i < to.size(); ++i) to[i] |= masks.row(r * group + g)[i];
    }
  }
}

void unite(const Lists& a, const Lists& b, Lists out, uint32_t width) {
  LOCI_ASSERT(a.rows == b.rows && a.rows == out.rows, "lists of one shape");
  LOCI_ASSERT(out.capacity >= std::min<uint64_t>(width, uint64_t{a.capacity} + b.capacity), "room for every element");
  for (size_t r = 0; r < a.rows; ++r) {
    const auto x = a.row(r), y = b.row(r);
    const auto end = std::set_union(x.begin(), x.end(), y.begin(), y.end(), out.room(r).begin());
    out.counts[r] = static_cast<uint32_t>(end - out.room(r).begin());
  }
}

void list_elements(const Masks& masks, Lists out) {
  LOCI_ASSERT(out.rows == masks.rows && out.capacity >= masks.width, "room for every element");
  for (size_t r = 0; r < masks.rows; ++r) {
    uint32_t count = 0;
    for (size_t i = 0; i < masks.row_words(); ++i) {
      for (uint64_t word = masks.row(r)[i]; word != 0; word &= word - 1) {
        out.room(r)[count++] = static_cast<uint32_t>(i * 64) + static_cast<uint32_t>(std::countr_zero(word));
      }
    }
    out.counts[r] = count;
  }
}

void blocks_of(const Masks& masks, uint32_t block, Masks out) {
  LOCI_ASSERT(block > 0 && out.rows == masks.rows, "blocks are not empty");
  LOCI_ASSERT(uint64_t{out.width} * block >= masks.width, "there is room for every block");
  clear(out);
  for (size_t r = 0; r < masks.rows; ++r) {
    for (size_t i = 0; i < masks.row_words(); ++i) {
      for (uint64_t word = masks.row(r)[i]; word != 0; word &= word - 1) {
        const size_t b = (i * 64 + static_cast<size_t>(std::countr_zero(word))) / block;
        out.row(r)[b / 64] |= uint64_t{1} << b % 64;
      }
    }
  }
}

void elements_of(const Lists& blocks, uint32_t block, uint32_t width, Lists out, Lengths lengths) {
  LOCI_ASSERT(block > 0 && out.rows == blocks.rows, "blocks are not empty");
  LOCI_ASSERT(out.capacity >= std::min<uint64_t>(width, uint64_t{blocks.capacity} * block), "room for every element");
  for (size_t r = 0; r < blocks.rows; ++r) {
    const uint64_t length = length_of(lengths, r, width);
    uint32_t count = 0;
    for (const uint32_t b : blocks.row(r)) {
      const uint64_t end = std::min((uint64_t{b} + 1) * block, length);
      for (uint64_t e = uint64_t{b} * block; e < end; ++e) out.room(r)[count++] = static_cast<uint32_t>(e);
    }
    out.counts[r] = count;
  }
}

void gather(const Rows& x, const Lists& lists, Rows out) {
  LOCI_ASSERT(x.rows == lists.rows && out.rows >= lists.rows && out.width >= lists.capacity, "room for every element");
  for (size_t r = 0; r < lists.rows; ++r) {
    float* to = out.row(r);
    for (const uint32_t e : lists.row(r)) *to++ = x.row(r)[e];
  }
}

void gather_rows(const Rows& x, const Lists& lists, size_t list, Rows out) {
  LOCI_ASSERT(out.rows >= lists.capacity && out.width >= x.width, "room for every row");
  size_t i = 0;
  for (const uint32_t e : lists.row(list)) std::copy_n(x.row(e), x.width, out.row(i++));
}

void histogram(OpContext& context, const Rows& x, float low, float high, uint32_t bins, std::span<uint32_t> counts,
               Lengths lengths) {
  LOCI_ASSERT(bins > 0 && low < high && counts.size() >= size_t{x.rows} * bins, "room for every bin");
  const float factor = static_cast<float>(bins) / (high - low);
  context.pool.parallel_for(x.rows, [&](size_t r, int) {
    const std::span<uint32_t> own = counts.subspan(r * bins, bins);
    std::fill(own.begin(), own.end(), 0u);
    const uint32_t length = length_of(lengths, r, x.width);
    for (uint32_t i = 0; i < length; ++i) {
      const float at = (x.row(r)[i] - low) * factor;
      if (at != at) continue;
      const float last = static_cast<float>(bins - 1);
      ++own[static_cast<uint32_t>(at <= 0 ? 0.0F : (at >= last ? last : at))];
    }
  });
}

}  // namespace loci
