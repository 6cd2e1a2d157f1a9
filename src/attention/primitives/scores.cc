#include "attention/primitives/scores.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/cpu/kv_codec/hadamard.h"
#include "kernels/cpu/kv_codec/kv_codec.h"
#include "kernels/cpu/math/exp_scalar.h"
#include "kernels/cpu/select/score_tiles.h"
#include "kernels/cpu/select/select_kernels.h"

namespace loci {
namespace {

constexpr uint32_t kItemTiles = kScoreBlock / kPageSlots;

// Up to so many rows, 16-bit keys are multiplied as they come from memory: the read of the next keys overlaps with the
// products of these. With more rows it pays to decode a page once.
constexpr uint32_t kFewRows = 8;

constexpr uint32_t kTileQueries = 64;  // that are multiplied as bfloat16 at a time

uint32_t tiles_of(const Keys& keys) { return (keys.count + kPageSlots - 1) / kPageSlots; }

bool pages_have(const Keys& keys, uint32_t tile) { return tile < tiles_of(keys) && keys.pages[tile] != nullptr; }

// The keys of a tile [padded_dim][64], decoded if they lie in a page.
const float* tile_keys(const Keys& keys, uint32_t tile, const KvDecodeKernels& decode, float* decoded) {
  if (keys.pages.empty()) return keys.tiles + size_t{tile} * keys.layout->padded_dim * kPageSlots;
  decode.keys(*keys.layout, keys.pages[tile], decoded);
  return decoded;
}

// What a worker scores keys with: memory for a decoded tile and for bfloat16 operands.
class Scorer {
 public:
  static size_t floats(size_t dim) {
    return dim * kPageSlots + (tile_bytes(kPageSlots, dim) + tile_bytes(kTileQueries, dim)) / sizeof(float);
  }

  Scorer(Isa isa, size_t dim, float* memory)
      : kernels_(select_kernels(isa)), decode_(kv_decode_kernels(isa)), tiles_(score_tiles(isa)), decoded_(memory) {
    keys_ = reinterpret_cast<std::byte*>(memory + dim * kPageSlots);
    queries_ = keys_ + tile_bytes(kPageSlots, dim);
  }

  // Tiles [begin, end) of the job. Takes memory for kTileQueries queries.
  void score(const ScoreJob& job, uint32_t begin, uint32_t end) const {
    if (tiles_ != nullptr && job.products == Products::kTiles) {
      score_in_tiles(job, begin, end);
      return;
    }
    const PageLayout& layout = *job.keys.layout;
    const bool halves = !job.keys.pages.empty() && layout.codec == KvCodec::kKv16 && job.queries.rows <= kFewRows;
    for (uint32_t t = begin; t < end; ++t) {
      if (!has(job.keys, t)) continue;
      float* out = job.scores.data + t * kPageSlots;
      if (halves) {
        // A worker goes on to the next block more often than not.
        const std::byte* next = job.keys.pages[pages_have(job.keys, t + 1) ? t + 1 : t];
        kernels_.score_halves(job.queries.data, job.queries.rows, layout.padded_dim,
                              reinterpret_cast<const uint16_t*>(job.keys.pages[t]),
                              reinterpret_cast<const uint16_t*>(next), out, job.scores.stride);
      } else {
        kernels_.score_tile(job.queries.data, job.queries.rows, layout.padded_dim,
                            tile_keys(job.keys, t, decode_, decoded_), out, job.scores.stride);
      }
    }
  }

 private:
  static bool has(const Keys& keys, uint32_t tile) { return keys.pages.empty() || keys.pages[tile] != nullptr; }

  void load_keys(const Keys& keys, uint32_t tile) const {
    const PageLayout& layout = *keys.layout;
    if (keys.pages.empty()) {
      tiles_->load_keys(keys.tiles + size_t{tile} * layout.padded_dim * kPageSlots, layout.padded_dim, keys_);
    } else {
      tiles_->load_page(layout, keys.pages[tile], keys_);
    }
  }

  void score_in_tiles(const ScoreJob& job, uint32_t begin, uint32_t end) const {
    const size_t dim = job.keys.layout->padded_dim;
    for (uint32_t first = 0; first < job.queries.rows; first += kTileQueries) {
      const uint32_t rows = std::min(kTileQueries, static_cast<uint32_t>(job.queries.rows) - first);
      tiles_->load_queries(job.queries.data + first * dim, rows, dim, queries_);
      for (uint32_t t = begin; t < end; ++t) {
        if (!has(job.keys, t)) continue;
        load_keys(job.keys, t);
        tiles_->score(queries_, rows, dim, keys_, job.scores.data + first * job.scores.stride + t * kPageSlots,
                      job.scores.stride);
      }
    }
  }

  const SelectKernels& kernels_;
  const KvDecodeKernels& decode_;
  const ScoreTiles* tiles_;
  float* decoded_;
  std::byte* keys_;
  std::byte* queries_;
};

// The exponentials of one block. spare [kScoreBlock].
void add_up(const SelectKernels& kernels, const ScoreJob& job, uint32_t block, float* spare) {
  const uint32_t begin = std::max(job.exps.first, block * kScoreBlock);
  Rows largest = job.exps.largest, sums = job.exps.sums;
  const uint32_t end = std::min({job.exps.last, job.keys.count, (block + 1) * kScoreBlock});
  for (uint32_t r = 0; r < job.queries.rows; ++r) {
    const float* row = job.scores.row(r) + begin;
    const uint32_t count = end > begin ? end - begin : 0;
    const float most = kernels.largest(row, count);
    largest.row(r)[block] = most;
    // A block without a number has no part: exp(-inf - -inf) would be none either.
    const bool any = most > -std::numeric_limits<float>::infinity();
    sums.row(r)[block] = any ? kernels.exp_sum(row, count, most, spare) : 0.0F;
  }
}

// Job and block of every item.
class Items {
 public:
  Items(std::span<const ScoreJob> jobs, std::span<uint32_t> first) : first_(first) {
    uint32_t items = 0;
    for (size_t j = 0; j < jobs.size(); ++j) {
      first_[j] = items;
      items += (tiles_of(jobs[j].keys) + kItemTiles - 1) / kItemTiles;
    }
    first_[jobs.size()] = items;
  }
  uint32_t count() const { return first_.back(); }
  std::pair<size_t, uint32_t> at(uint32_t item) const {
    const auto next = std::upper_bound(first_.begin(), first_.end(), item);
    const auto job = static_cast<size_t>(next - first_.begin()) - 1;
    return {job, item - first_[job]};
  }

 private:
  std::span<uint32_t> first_;
};

}  // namespace

void prepare_queries(const PageLayout& layout, const Rows& q, float scale, Rows out) {
  LOCI_ASSERT(q.width == layout.head_dim && out.width == layout.padded_dim && out.rows == q.rows,
              "queries have the width of the keys");
  for (size_t r = 0; r < q.rows; ++r) {
    float* row = out.row(r);
    for (uint32_t i = 0; i < q.width; ++i) row[i] = q.row(r)[i] * scale;
    std::fill(row + q.width, row + out.width, 0.0F);
    if (layout.rotated) rotate_groups(row, out.width);
  }
}

size_t scores_scratch_bytes(uint32_t padded_dim, size_t jobs, int threads) {
  const size_t own = Scorer::floats(padded_dim);
  return Workspace::bytes_of<float>(own * static_cast<size_t>(threads)) + Workspace::bytes_of<uint32_t>(jobs + 1);
}

void scores(OpContext& context, std::span<const ScoreJob> jobs) {
  const Workspace::Mark mark(context.scratch);
  const Items items(jobs, context.scratch.take<uint32_t>(jobs.size() + 1));
  uint32_t dim = 0;
  for (const ScoreJob& job : jobs) {
    const uint32_t tiles = tiles_of(job.keys);
    LOCI_ASSERT(job.keys.pages.empty() || job.keys.pages.size() >= tiles, "every key has a page");
    LOCI_ASSERT(job.queries.stride == job.keys.layout->padded_dim, "queries are prepared and lie without gaps");
    LOCI_ASSERT(job.scores.width >= tiles * kPageSlots && job.scores.rows >= job.queries.rows,
                "scores have room for whole tiles");
    LOCI_ASSERT(job.exps.sums.data == nullptr || size_t{job.exps.sums.width} * kItemTiles >= tiles,
                "every block has a sum");
    dim = std::max(dim, job.keys.layout->padded_dim);
  }
  const size_t own_floats = Scorer::floats(dim);
  static_assert(kCodeGroup * kPageSlots >= kScoreBlock, "a tile has room for a block's scores");
  const std::span<float> memory = context.scratch.take<float>(own_floats * static_cast<size_t>(context.pool.size()));
  context.pool.parallel_for(items.count(), [&](size_t item, int worker) {
    const auto [j, block] = items.at(static_cast<uint32_t>(item));
    const ScoreJob& job = jobs[j];
    float* own = memory.data() + static_cast<size_t>(worker) * own_floats;
    const uint32_t begin = block * kItemTiles;
    Scorer(context.isa, dim, own).score(job, begin, std::min(begin + kItemTiles, tiles_of(job.keys)));
    if (job.exps.sums.data != nullptr) add_up(select_kernels(context.isa), job, block, own);
  });
}

float log_sum_exp(const ExpSums& exps, size_t r) {
  const std::span<const float> largest = exps.largest.span(r), sums = exps.sums.span(r);
  float most = -std::numeric_limits<float>::infinity();
  for (const float x : largest) most = std::max(most, x);
  if (most == -std::numeric_limits<float>::infinity()) return most;
  float sum = 0;
  for (size_t b = 0; b < sums.size(); ++b) sum += sums[b] * exp_scalar(largest[b] - most);
  return most + std::log(sum);
}

void pool_keys(const PageLayout& layout, const std::byte* page, uint32_t slots, Isa isa, float* scratch, float* tiles,
               uint32_t index) {
  LOCI_ASSERT(slots > 0 && slots <= kPageSlots, "a page has 1 to 64 keys");
  kv_decode_kernels(isa).keys(layout, page, scratch);
  float* column = tiles + size_t{index / kPageSlots} * layout.padded_dim * kPageSlots + index % kPageSlots;
  const float share = 1.0F / static_cast<float>(slots);
  for (uint32_t i = 0; i < layout.padded_dim; ++i) {
    const float* dimension = scratch + size_t{i} * kPageSlots;
    float sum = 0;
    for (uint32_t s = 0; s < slots; ++s) sum += dimension[s];
    column[size_t{i} * kPageSlots] = sum * share;
  }
}

}  // namespace loci
