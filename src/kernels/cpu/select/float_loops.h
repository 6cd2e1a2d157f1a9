// The loops over floats, written once over a vector namespace (Vec16 and its tile sizes) and instantiated per
// instruction set. Row loops run near the speed of the first-level cache; score_tile near the FMA roof once a tile has
// kRows rows, below that bound by loads of the keys.
#pragma once

#include <limits>

#include "kernels/cpu/kv_codec/hadamard.h"
#include "kernels/cpu/kv_codec/page_layout.h"
#include "kernels/cpu/math/exp_scalar.h"
#include "kernels/cpu/select/select_kernels.h"
#include "kernels/cpu/simd/multiply_tile.h"

namespace loci {

template <typename Vec16, int kRows, int kVectors>
struct FloatLoops {
  static constexpr size_t kTileKeys = 64;

  static Vec16 load_keys(const float* keys) { return Vec16::load(keys); }
  static Vec16 load_keys(const uint16_t* halves) { return Vec16::load_half(halves); }

  // kFetch: also asks for what lies `to_next` keys further on.
  template <int R, bool kFetch, typename Key>
  static void score_rows(const float* q, size_t dim, const Key* keys, ptrdiff_t to_next, float* scores, size_t stride) {
    for (size_t slot = 0; slot < kTileKeys; slot += 16 * kVectors) {
      Vec16 sum[R][kVectors];
      for (auto& row : sum) {
        for (Vec16& x : row) x = Vec16::broadcast(0.0F);
      }
      const auto key = [&](size_t d, size_t v) {
        const size_t column = slot + v * 16;
        const Key* at = keys + d * kTileKeys + column;
        // Into the second level: the first can have too few lines under way to keep memory busy. As many in every part
        // of the loop: in bursts they are in each other's way.
        if constexpr (kFetch && kVectors == 1) {
          if (d % 2 == 0) __builtin_prefetch(keys + to_next + slot * dim + d * 16, 0, 2);
        } else if constexpr (kFetch) {
          if (column % 32 == 0) __builtin_prefetch(at + to_next, 0, 2);
        }
        return load_keys(at);
      };
      multiply_tile<Vec16, R, kVectors>(q, dim, key, dim, sum);
      for (int r = 0; r < R; ++r) {
        for (int v = 0; v < kVectors; ++v) sum[r][v].store(scores + size_t(r) * stride + slot + size_t(v) * 16);
      }
    }
  }

  // Calls row_tile<R>(row) for runs of R rows.
  template <typename RowTile>
  static void walk_rows(size_t rows, const RowTile& row_tile) {
    size_t row = 0;
    const auto take = [&]<int R>() {
      row_tile.template operator()<R>(row);
      row += R;
    };
    while (row + kRows <= rows) take.template operator()<kRows>();
    if constexpr (kRows > 4) {
      while (row + 4 <= rows) take.template operator()<4>();
    }
    while (row + 2 <= rows) take.template operator()<2>();
    while (row < rows) take.template operator()<1>();
  }

  static void score_tile(const float* q, size_t rows, size_t dim, const float* keys, float* scores, size_t stride) {
    walk_rows(rows, [&]<int R>(size_t row) {
      score_rows<R, false>(q + row * dim, dim, keys, 0, scores + row * stride, stride);
    });
  }

  static void score_halves(const float* q, size_t rows, size_t dim, const uint16_t* keys, const uint16_t* next,
                           float* scores, size_t stride) {
    walk_rows(rows, [&]<int R>(size_t row) {
      if (row == 0) {
        score_rows<R, true>(q, dim, keys, next - keys, scores, stride);
      } else {
        score_rows<R, false>(q + row * dim, dim, keys, 0, scores + row * stride, stride);
      }
    });
  }

  static void move_tile(float* keys, size_t half, size_t first_apart, size_t apart, const float* cosines,
                        const float* sines) {
    const Vec16 minus = Vec16::broadcast(-0.0F);
    for (size_t i = 0; i < half; ++i) {
      float* a = keys + i * first_apart * kTileKeys;
      float* b = a + apart * kTileKeys;
      for (size_t slot = 0; slot < kTileKeys; slot += 16) {
        const Vec16 x = Vec16::load(a + slot), y = Vec16::load(b + slot);
        const Vec16 c = Vec16::load(cosines + i * kTileKeys + slot), s = Vec16::load(sines + i * kTileKeys + slot);
        fma(x, c, minus - y * s).store(a + slot);
        fma(y, c, x * s).store(b + slot);
      }
    }
  }

  // One level of the Hadamard transform (kv_codec/hadamard.h) over the rows of a group.
  static void butterflies(float* group, size_t half) {
    for (size_t first = 0; first < kCodeGroup; first += 2 * half) {
      for (size_t i = first; i < first + half; ++i) {
        for (size_t slot = 0; slot < kTileKeys; slot += 16) {
          float* a = group + i * kTileKeys + slot;
          float* b = a + half * kTileKeys;
          const Vec16 x = Vec16::load(a), y = Vec16::load(b);
          (x + y).store(a);
          (x - y).store(b);
        }
      }
    }
  }

  static void rotate_tile(float* keys, size_t dim) {
    for (float* group = keys; group < keys + dim * kTileKeys; group += kCodeGroup * kTileKeys) {
      for (size_t half = 1; half < kCodeGroup; half *= 2) butterflies(group, half);
      for (size_t i = 0; i < kCodeGroup * kTileKeys; i += 16)
        (Vec16::load(group + i) * Vec16::broadcast(kGroupNormal)).store(group + i);
    }
  }

  // The last, partial vector of a row, with `fill` in the lanes that do not exist.
  static Vec16 load_tail(const float* x, size_t left, float fill) {
    float lanes[16];
    for (size_t i = 0; i < 16; ++i) lanes[i] = i < left ? x[i] : fill;
    return Vec16::load(lanes);
  }
  static void store_tail(Vec16 v, size_t left, float* out) {
    float lanes[16];
    v.store(lanes);
    for (size_t i = 0; i < left; ++i) out[i] = lanes[i];
  }

  static float largest_of(const float* x, size_t count) {
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    Vec16 best = Vec16::broadcast(kNone);
    size_t i = 0;
    // max(a, b) is b unless a is larger, so a NaN on the left goes.
    for (; i + 16 <= count; i += 16) best = max(Vec16::load(x + i), best);
    if (i < count) best = max(load_tail(x + i, count - i, kNone), best);
    return largest(best);
  }

  static float exp_sum(const float* x, size_t count, float offset, float* out) {
    const Vec16 shift = Vec16::broadcast(offset);
    Vec16 total = Vec16::broadcast(0.0F);
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
      const Vec16 e = exp(Vec16::load(x + i) - shift);
      e.store(out + i);
      total = total + e;
    }
    if (i < count) {
      const Vec16 e = exp(load_tail(x + i, count - i, -std::numeric_limits<float>::infinity()) - shift);
      store_tail(e, count - i, out + i);
      total = total + e;
    }
    return sum(total);
  }

  template <bool kMax>
  static Vec16 joined(Vec16 a, Vec16 b) {
    if constexpr (kMax) {
      return max(b, a);
    } else {
      return a + b;
    }
  }

  template <bool kMax>
  static void join_exps(const float* x, size_t rows, size_t stride, const float* offsets, size_t count, float* into) {
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
      Vec16 all = Vec16::load(into + i);
      for (size_t r = 0; r < rows; ++r)
        all = joined<kMax>(all, exp(Vec16::load(x + r * stride + i) - Vec16::broadcast(offsets[r])));
      all.store(into + i);
    }
    if (i == count) return;
    const size_t left = count - i;
    Vec16 all = load_tail(into + i, left, 0.0F);
    for (size_t r = 0; r < rows; ++r)
      all = joined<kMax>(all, exp(load_tail(x + r * stride + i, left, 0.0F) - Vec16::broadcast(offsets[r])));
    store_tail(all, left, into + i);
  }

  static void scale(float* x, size_t count, float factor) {
    const Vec16 f = Vec16::broadcast(factor);
    size_t i = 0;
    for (; i + 16 <= count; i += 16) (Vec16::load(x + i) * f).store(x + i);
    for (; i < count; ++i) x[i] *= factor;
  }

  static void add(const float* x, size_t count, float* into) {
    size_t i = 0;
    for (; i + 16 <= count; i += 16) (Vec16::load(into + i) + Vec16::load(x + i)).store(into + i);
    for (; i < count; ++i) into[i] += x[i];
  }

  static void maximum(const float* x, size_t count, float* into) {
    size_t i = 0;
    for (; i + 16 <= count; i += 16) max(Vec16::load(x + i), Vec16::load(into + i)).store(into + i);
    for (; i < count; ++i) into[i] = x[i] > into[i] ? x[i] : into[i];
  }

  template <bool kMax>
  static void window(const float* x, size_t count, size_t width, float* out) {
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
      Vec16 all = Vec16::load(x + i);
      for (size_t j = 1; j < width; ++j) all = joined<kMax>(all, Vec16::load(x + i + j));
      all.store(out + i);
    }
    if (i == count) return;
    const size_t left = count - i;
    Vec16 all = load_tail(x + i, left, 0.0F);
    for (size_t j = 1; j < width; ++j) all = joined<kMax>(all, load_tail(x + i + j, left, 0.0F));
    store_tail(all, left, out + i);
  }
};

// The table of an instruction set: its float loops, and the loops over bits that are written for it.
template <typename Loops>
constexpr SelectKernels select_table(decltype(SelectKernels::count_keys) count_keys,
                                     decltype(SelectKernels::collect) collect,
                                     decltype(SelectKernels::mark_at_least) mark_at_least) {
  return {.score_tile = Loops::score_tile,
          .score_halves = Loops::score_halves,
          .move_tile = Loops::move_tile,
          .rotate_tile = Loops::rotate_tile,
          .largest = Loops::largest_of,
          .exp_sum = Loops::exp_sum,
          .add_exps = Loops::template join_exps<false>,
          .maximum_exps = Loops::template join_exps<true>,
          .scale = Loops::scale,
          .add = Loops::add,
          .maximum = Loops::maximum,
          .window_sum = Loops::template window<false>,
          .window_max = Loops::template window<true>,
          .count_keys = count_keys,
          .collect = collect,
          .mark_at_least = mark_at_least};
}

}  // namespace loci
