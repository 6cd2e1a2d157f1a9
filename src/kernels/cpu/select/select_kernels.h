// The loops under the selection primitives (attention/primitives): scores of decoded keys, exponentials and sums of
// rows, pooling, and selection by the bits of a score.
//
// Every loop has one order of additions that all instruction sets keep, so results are equal bit for bit: a score is
// one chain of fused multiply-adds over the dimensions in ascending order; a sum of a row has 16 lanes (lane i adds
// elements i, i + 16, ...), which fold 8 + 8, 4 + 4, 2 + 2, 1 + 1. select_scalar.cc is the reference.
//
// Selection works on the key of a score: a 32-bit number in the same order, with 0 and -0 equal and NaN below
// everything (select_key). The k-th largest of a row is found by histograms of key bits from the top down, so the cost
// is a few passes over the row, whatever k is, and nothing is sorted.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/cpu.h"

namespace loci {

inline uint32_t select_key(float x) {
  if (x != x) return 0;
  const uint32_t bits = std::bit_cast<uint32_t>(x + 0.0F);  // -0 becomes 0
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

// Of a row, the elements that are taken: all whose key is above `key`, and the first `ties` of those whose key is it.
struct Cut {
  uint32_t key = 0;
  uint32_t ties = 0;
  uint32_t count = 0;  // elements taken in all
};

inline constexpr size_t kBinCopies = 4;

struct SelectKernels {
  // scores[r * stride + i] = query r . key i for the 64 keys of a tile. q [rows, dim], keys [dim][64].
  void (*score_tile)(const float* q, size_t rows, size_t dim, const float* keys, float* scores, size_t stride);
  // The same, keys being half-precision floats; they are converted once per few rows, on the way to the product. `next`
  // is the tile to be read after it, to be fetched meanwhile; never null.
  void (*score_halves)(const float* q, size_t rows, size_t dim, const uint16_t* keys, const uint16_t* next,
                       float* scores, size_t stride);
  // Turns keys [dim][64] in place as rotary embedding does (rope/rotate.h), each by angles of its own: pair i < half is
  // the rows i * first_apart and i * first_apart + apart; cosines and sines [half][64].
  void (*move_tile)(float* keys, size_t half, size_t first_apart, size_t apart, const float* cosines,
                    const float* sines);
  // rotate_groups (kv_codec/hadamard.h) of every key of a tile [dim][64]; dim is a multiple of kCodeGroup.
  void (*rotate_tile)(float* keys, size_t dim);

  // The largest of x; -inf if there is none. NaN counts as absent.
  float (*largest)(const float* x, size_t count);
  // out = exp(x - offset); returns the sum. In place is fine.
  float (*exp_sum)(const float* x, size_t count, float offset, float* out);
  // To into[i] is added (with it is compared) exp(x[r * stride + i] - offsets[r]), one chain over the rows in ascending
  // order.
  void (*add_exps)(const float* x, size_t rows, size_t stride, const float* offsets, size_t count, float* into);
  void (*maximum_exps)(const float* x, size_t rows, size_t stride, const float* offsets, size_t count, float* into);
  void (*scale)(float* x, size_t count, float factor);

  // into += x; into = the larger of both.
  void (*add)(const float* x, size_t count, float* into);
  void (*maximum)(const float* x, size_t count, float* into);
  // out[i] = the sum (the largest) of x[i .. i + width). Reads count + width - 1 elements.
  void (*window_sum)(const float* x, size_t count, size_t width, float* out);
  void (*window_max)(const float* x, size_t count, size_t width, float* out);

  // Adds 1 to one of bins[c][(key >> shift) & mask], c < kBinCopies, for every key whose bits from `above` up equal
  // those of `prefix`; above = 32 takes all. Neighbours go to different copies: scores crowd in few bins, and adding to
  // one word again and again waits for itself.
  void (*count_keys)(const float* x, size_t count, uint32_t prefix, int above, int shift, uint32_t mask,
                     uint32_t* bins);
  // The positions, plus `first`, of what the cut takes of x, ascending; moves cut.ties on. Returns how many.
  size_t (*collect)(const float* x, size_t count, uint32_t first, Cut& cut, uint32_t* out);
  // Bit i of words: x[i] >= threshold. Writes whole words; bits beyond count are 0.
  void (*mark_at_least)(const float* x, size_t count, float threshold, uint64_t* words);
};

const SelectKernels& select_kernels(Isa isa);

namespace detail {
extern const SelectKernels kSelectScalar;
extern const SelectKernels kSelectAvx2;
extern const SelectKernels kSelectAvx512;
}  // namespace detail

}  // namespace loci
