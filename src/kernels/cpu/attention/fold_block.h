// The body of the fp32 attention kernels, written once over a vector namespace (Vec16 and its tile sizes) and
// instantiated by fold_scalar.cc, fold_avx2.cc and fold_avx512.cc.
//
// Every score is one chain of fused multiply-adds over the dimensions in ascending order, every output one chain over
// the 64 slots: neither tile shapes nor the form of the entries (decoded to fp32, or the halves of a kv16 page) change
// bits. Near the FMA roof once a tile has kTileRows rows; below that, bound by loads.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/cpu/attention/fold_kernels.h"
#include "kernels/cpu/kv_codec/decode_page.h"
#include "kernels/cpu/kv_codec/page_layout.h"
#include "kernels/cpu/math/exp_scalar.h"
#include "kernels/cpu/simd/multiply_tile.h"

namespace loci {

inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// A block's entries, decoded to fp32: keys [dim][64], values [64][dim].
template <typename Vec16>
struct DecodedEntries {
  const float* keys;
  const float* values;
  size_t dim;

  Vec16 key(size_t d, size_t slot) const { return Vec16::load(keys + d * kPageSlots + slot); }
  Vec16 value(size_t slot, size_t d) const { return Vec16::load(values + slot * dim + d); }
};

// The same, read from a page of kv16. Asks for what it will want of the next page meanwhile.
template <typename Vec16>
struct PageEntries {
  const PageLayout& layout;
  const std::byte* page;
  ptrdiff_t to_next_page;

  Vec16 key(size_t d, size_t slot) const { return load(page + (d * kPageSlots + slot) * 2, slot); }
  Vec16 value(size_t slot, size_t d) const { return load(page + value_half(layout, slot, d), d); }

 private:
  Vec16 load(const std::byte* from, size_t column) const {
    // Into the second level: the first can have too few lines under way to keep memory busy.
    if (column % 32 == 0) __builtin_prefetch(from + to_next_page, 0, 2);
    return Vec16::load_half(reinterpret_cast<const uint16_t*>(from));
  }
};

template <typename Vec16, typename Entries, int V>
struct BlockFold {
  template <int R>
  static void score_rows(const float* q, size_t dim, const Entries& entries, float* scores) {
    for (size_t slot = 0; slot < kPageSlots; slot += 16 * V) {
      Vec16 sum[R][V];
      for (auto& row : sum) {
        for (Vec16& x : row) x = Vec16::broadcast(0.0F);
      }
      const auto key = [&](size_t d, size_t v) { return entries.key(d, slot + v * 16); };
      multiply_tile<Vec16, R, V>(q, dim, key, dim, sum);
      for (int r = 0; r < R; ++r) {
        for (int v = 0; v < V; ++v) sum[r][v].store(scores + size_t(r) * kPageSlots + slot + size_t(v) * 16);
      }
    }
  }

  template <int R, int W>
  static void accumulate_columns(const float* p, const float* scale, size_t dim, const Entries& entries, size_t column,
                                 float* o) {
    Vec16 sum[R][W];
    for (int r = 0; r < R; ++r) {
      const Vec16 factor = Vec16::broadcast(scale[r]);
      for (int v = 0; v < W; ++v) sum[r][v] = Vec16::load(o + size_t(r) * dim + column + size_t(v) * 16) * factor;
    }
    const auto value = [&](size_t slot, size_t v) { return entries.value(slot, column + v * 16); };
    multiply_tile<Vec16, R, W>(p, kPageSlots, value, kPageSlots, sum);
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < W; ++v) sum[r][v].store(o + size_t(r) * dim + column + size_t(v) * 16);
    }
  }

  template <int R>
  static void accumulate_rows(const float* p, const float* scale, size_t dim, const Entries& entries, float* o) {
    size_t column = 0;
    for (; column + 16 * V <= dim; column += 16 * V) accumulate_columns<R, V>(p, scale, dim, entries, column, o);
    for (; column < dim; column += 16) accumulate_columns<R, 1>(p, scale, dim, entries, column, o);
  }

  // Scores of one row become weights exp(score - m); the state's m and l move on. Returns the factor for the old o.
  static float soften_row(float* scores, VisibleSlots visible, float& m, float& l) {
    constexpr int kVectors = kPageSlots / 16;
    Vec16 x[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      x[v] = Vec16::load(scores + v * 16);
      if (visible.first > v * 16 || visible.last < v * 16 + 16) {
        x[v] = keep_lanes(x[v], visible.first - v * 16, visible.last - v * 16, kMinusInfinity);
      }
    }
    const float block_max = largest(max(max(x[0], x[1]), max(x[2], x[3])));
    if (block_max == kMinusInfinity) {
      for (int v = 0; v < kVectors; ++v) Vec16::broadcast(0.0F).store(scores + v * 16);
      return 1.0F;
    }
    const float new_max = block_max > m ? block_max : m;
    const float factor = exp_scalar(m - new_max);
    const Vec16 offset = Vec16::broadcast(new_max);
    for (int v = 0; v < kVectors; ++v) {
      x[v] = exp(x[v] - offset);
      x[v].store(scores + v * 16);
    }
    l = l * factor + sum((x[0] + x[1]) + (x[2] + x[3]));
    m = new_max;
    return factor;
  }

  // kScored: scores are there already.
  template <bool kScored, int R>
  static void fold_rows(const float* q, size_t dim, const Entries& entries, const VisibleSlots* visible, float* scores,
                        SoftmaxState state) {
    constexpr VisibleSlots kAll{0, kPageSlots};
    if (visible != nullptr && std::all_of(visible, visible + R, [](VisibleSlots v) { return v.first >= v.last; }))
      return;
    float factor[R];
    if constexpr (!kScored) score_rows<R>(q, dim, entries, scores);
    for (int r = 0; r < R; ++r) {
      factor[r] = soften_row(scores + r * kPageSlots, visible == nullptr ? kAll : visible[r], state.m[r], state.l[r]);
    }
    accumulate_rows<R>(scores, factor, dim, entries, state.o);
  }
};

template <typename Vec16, typename Entries, int kRows, int kVectors, bool kScored = false>
void fold_entries(const BlockRead& b, const Entries& entries) {
  using Fold = BlockFold<Vec16, Entries, kVectors>;
  const float* q = reinterpret_cast<const float*>(b.queries);
  size_t row = 0;
  const auto fold = [&]<int R>() {
    Fold::template fold_rows<kScored, R>(q + row * b.dim, b.dim, entries,
                                         b.visible == nullptr ? nullptr : b.visible + row, b.scores + row * kPageSlots,
                                         {b.state.m + row, b.state.l + row, b.state.o + row * b.dim});
    row += R;
  };
  while (row + kRows <= b.rows) fold.template operator()<kRows>();
  if (kRows > 4 && row + 4 == b.rows) fold.template operator()<(kRows > 4 ? 4 : 1)>();
  while (row + 3 <= b.rows) fold.template operator()<3>();
  if (row + 2 == b.rows) fold.template operator()<2>();
  while (row < b.rows) fold.template operator()<1>();
}

template <typename Vec16, int kRows, int kVectors>
void fold_tile(const BlockRead& b) {
  const float* keys = reinterpret_cast<const float*>(b.block);
  fold_entries<Vec16, DecodedEntries<Vec16>, kRows, kVectors>(b, {keys, keys + b.dim * kPageSlots, b.dim});
}

template <typename Vec16, int kRows, int kVectors>
void fold_halves(const BlockRead& b) {
  fold_entries<Vec16, PageEntries<Vec16>, kRows, kVectors>(b, {*b.layout, b.page, b.next_page - b.page});
}

template <typename Vec16>
void load_query(const float* q, size_t row, size_t, size_t dim, std::byte* queries) {
  std::memcpy(queries + row * dim * sizeof(float), q, dim * sizeof(float));
}

template <typename Vec16>
void load_tile(const PageLayout& layout, const std::byte* page, std::byte* block) {
  float* keys = reinterpret_cast<float*>(block);
  decode_keys<Vec16>(layout, page, keys);
  decode_values<Vec16>(layout, page, keys + size_t{layout.padded_dim} * kPageSlots);
}

template <typename Vec16>
void merge_states(SoftmaxState into, SoftmaxState from, size_t rows, size_t dim) {
  for (size_t r = 0; r < rows; ++r) {
    if (from.m[r] == kMinusInfinity) continue;
    const float m = into.m[r] > from.m[r] ? into.m[r] : from.m[r];
    const float a = exp_scalar(into.m[r] - m);
    const float b = exp_scalar(from.m[r] - m);
    into.l[r] = into.l[r] * a + from.l[r] * b;
    into.m[r] = m;
    const Vec16 a16 = Vec16::broadcast(a);
    const Vec16 b16 = Vec16::broadcast(b);
    for (size_t i = 0; i < dim; i += 16) {
      float* out = into.o + r * dim + i;
      fma(Vec16::load(out), a16, Vec16::load(from.o + r * dim + i) * b16).store(out);
    }
  }
}

template <typename Vec16, int kRows, int kVectors>
inline constexpr Fp32Kernels kFp32Kernels = {
    {"fp32", load_query<Vec16>, load_tile<Vec16>, fold_tile<Vec16, kRows, kVectors>},
    {"fp32", load_query<Vec16>, nullptr, fold_halves<Vec16, kRows, kVectors>},
    merge_states<Vec16>};

}  // namespace loci
