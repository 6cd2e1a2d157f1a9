#include "attention/primitives/top.h"

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>

namespace loci {
namespace {

constexpr uint32_t kMostElements = 1u << 24;
constexpr uint32_t kFewElements = 4096;  // below, clearing the bins would cost more than reading the row
constexpr size_t kMostBins = 2048;

// The digits of a key from the top down: how many bits each has.
struct Digits {
  std::array<int, 4> bits;
  int count;
};
constexpr Digits kWide = {{11, 11, 10, 0}, 3};
constexpr Digits kNarrow = {{8, 8, 8, 8}, 4};

const Digits& digits_for(uint32_t length) { return length < kFewElements ? kNarrow : kWide; }

Cut take_all(uint32_t length) { return {.key = 0, .ties = length, .count = length}; }

Cut top_k_of(const SelectKernels& kernels, const float* x, uint32_t length, uint32_t k) {
  if (k >= length) return take_all(length);
  if (k == 0) return {.key = 0xffffffffu, .ties = 0, .count = 0};
  uint32_t bins[kBinCopies * kMostBins];
  uint32_t key = 0, left = k;
  int above = 32;
  const Digits& digits = digits_for(length);
  for (int d = 0; d < digits.count; ++d) {
    const int bits = digits.bits[static_cast<size_t>(d)], shift = above - bits;
    const uint32_t size = 1u << bits;
    std::fill_n(bins, kBinCopies * size, 0u);
    kernels.count_keys(x, length, key, above, shift, size - 1, bins);
    // Down from the largest bin, until the next one holds the k-th.
    uint32_t bin = size - 1;
    while (true) {
      uint32_t here = 0;
      for (size_t c = 0; c < kBinCopies; ++c) here += bins[c * size + bin];
      if (here >= left) break;
      left -= here;
      LOCI_ASSERT(bin > 0, "the bins hold every element");
      --bin;
    }
    key |= bin << shift;
    above = shift;
  }
  return {.key = key, .ties = left, .count = k};
}

// Weights in units of 2^-38 of the power of two below the row's largest.
struct FixedPoint {
  double scale = 0;

  FixedPoint(const SelectKernels& kernels, const float* x, uint32_t length) {
    const float most = std::min(kernels.largest(x, length), FLT_MAX);
    if (most > 0) scale = std::ldexp(1.0, 38 - std::ilogb(most));
  }
  uint64_t of(float x) const {
    return x > 0 ? static_cast<uint64_t>(double{std::min(x, FLT_MAX)} * scale) : uint64_t{0};
  }
};

Cut top_p_of(const SelectKernels& kernels, const float* x, uint32_t length, double p) {
  if (p >= 1 || length == 0) return take_all(length);
  const FixedPoint weight(kernels, x, length);
  uint64_t total = 0;
  for (uint32_t i = 0; i < length; ++i) total += weight.of(x[i]);
  if (total == 0) return top_k_of(kernels, x, length, 1);
  uint64_t wanted =
      std::clamp(static_cast<uint64_t>(std::ceil(std::max(p, 0.0) * static_cast<double>(total))), uint64_t{1}, total);
  uint64_t mass[kMostBins];
  uint32_t counts[kMostBins];
  uint32_t key = 0, taken = 0;
  int above = 32;
  const Digits& digits = digits_for(length);
  for (int d = 0; d < digits.count; ++d) {
    const int bits = digits.bits[static_cast<size_t>(d)], shift = above - bits;
    const uint32_t size = 1u << bits;
    std::fill_n(mass, size, uint64_t{0});
    std::fill_n(counts, size, 0u);
    for (uint32_t i = 0; i < length; ++i) {
      const uint32_t k = select_key(x[i]);
      if (above < 32 && (k >> above) != (key >> above)) continue;
      mass[(k >> shift) & (size - 1)] += weight.of(x[i]);
      ++counts[(k >> shift) & (size - 1)];
    }
    uint32_t bin = size - 1;
    for (; mass[bin] < wanted; --bin) {
      LOCI_ASSERT(bin > 0, "the bins hold the whole mass");
      wanted -= mass[bin];
      taken += counts[bin];
    }
    key |= bin << shift;
    above = shift;
  }
  // Elements of one key weigh the same.
  const uint32_t last = digits.bits[static_cast<size_t>(digits.count - 1)];
  const uint32_t bin = key & ((1u << last) - 1);
  const uint64_t each = mass[bin] / counts[bin];
  const auto ties = static_cast<uint32_t>((wanted + each - 1) / each);
  return {.key = key, .ties = ties, .count = taken + ties};
}

void check(const Rows& x, size_t outputs) {
  LOCI_ASSERT(x.width < kMostElements, "rows hold fewer than 2^24 elements");
  LOCI_ASSERT(outputs >= x.rows, "there is an output for every row");
}

void collect_row(const SelectKernels& kernels, const float* x, uint32_t length, Cut cut, const Lists& out, size_t r) {
  LOCI_ASSERT(cut.count <= out.capacity, "a list has room for what was planned");
  const size_t taken = kernels.collect(x, length, 0, cut, out.room(r).data());
  out.counts[r] = static_cast<uint32_t>(taken);
}

}  // namespace

void find_top_k(OpContext& context, const Rows& x, uint32_t k, std::span<Cut> cuts, Lengths lengths) {
  check(x, cuts.size());
  const SelectKernels& kernels = select_kernels(context.isa);
  context.pool.parallel_for(
      x.rows, [&](size_t r, int) { cuts[r] = top_k_of(kernels, x.row(r), length_of(lengths, r, x.width), k); });
}

void find_top_p(OpContext& context, const Rows& x, double p, std::span<Cut> cuts, Lengths lengths) {
  check(x, cuts.size());
  const SelectKernels& kernels = select_kernels(context.isa);
  context.pool.parallel_for(
      x.rows, [&](size_t r, int) { cuts[r] = top_p_of(kernels, x.row(r), length_of(lengths, r, x.width), p); });
}

void collect(OpContext& context, const Rows& x, std::span<const Cut> cuts, Lists out, Lengths lengths) {
  check(x, std::min<size_t>(cuts.size(), out.rows));
  const SelectKernels& kernels = select_kernels(context.isa);
  context.pool.parallel_for(
      x.rows, [&](size_t r, int) { collect_row(kernels, x.row(r), length_of(lengths, r, x.width), cuts[r], out, r); });
}

void mark(OpContext& context, const Rows& x, std::span<const Cut> cuts, Masks out, Lengths lengths) {
  check(x, std::min<size_t>(cuts.size(), out.rows));
  LOCI_ASSERT(out.width == x.width, "a mask is as wide as its row");
  const SelectKernels& kernels = select_kernels(context.isa);
  context.pool.parallel_for(x.rows, [&](size_t r, int) {
    constexpr uint32_t kBlock = 256;
    uint32_t found[kBlock];
    const std::span<uint64_t> words = out.row(r);
    std::fill(words.begin(), words.end(), uint64_t{0});
    Cut cut = cuts[r];
    const uint32_t length = length_of(lengths, r, x.width);
    for (uint32_t first = 0; first < length; first += kBlock) {
      const size_t taken = kernels.collect(x.row(r) + first, std::min(kBlock, length - first), first, cut, found);
      for (size_t i = 0; i < taken; ++i) words[found[i] / 64] |= uint64_t{1} << found[i] % 64;
    }
  });
}

void top_k(OpContext& context, const Rows& x, uint32_t k, Lists out, Lengths lengths) {
  check(x, out.rows);
  const SelectKernels& kernels = select_kernels(context.isa);
  context.pool.parallel_for(x.rows, [&](size_t r, int) {
    const uint32_t length = length_of(lengths, r, x.width);
    collect_row(kernels, x.row(r), length, top_k_of(kernels, x.row(r), length, k), out, r);
  });
}

void top_p(OpContext& context, const Rows& x, double p, Lists out, Lengths lengths) {
  check(x, out.rows);
  const SelectKernels& kernels = select_kernels(context.isa);
  context.pool.parallel_for(x.rows, [&](size_t r, int) {
    const uint32_t length = length_of(lengths, r, x.width);
    collect_row(kernels, x.row(r), length, top_p_of(kernels, x.row(r), length, p), out, r);
  });
}

}  // namespace loci
