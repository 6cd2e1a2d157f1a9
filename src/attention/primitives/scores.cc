#include "attention/primitives/scores.h"

#include <algorithm>
#include <limits>

#include "kernels/cpu/kv_codec/hadamard.h"
#include "kernels/cpu/kv_codec/kv_codec.h"
#include "kernels/cpu/select/select_kernels.h"

namespace loci {
namespace {

constexpr uint32_t kItemTiles = 8;  // that a worker takes at a time

// Up to so many rows, 16-bit keys are multiplied as they come from memory: the read of the next keys overlaps with the
// products of these. With more rows it pays to decode a page once.
constexpr uint32_t kFewRows = 8;

uint32_t tiles_of(const Keys& keys) { return (keys.count + kPageSlots - 1) / kPageSlots; }

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
  return Workspace::bytes_of<float>(size_t{padded_dim} * kPageSlots * static_cast<size_t>(threads)) +
         Workspace::bytes_of<uint32_t>(jobs + 1);
}

void scores(OpContext& context, std::span<const ScoreJob> jobs) {
  const Workspace::Mark mark(context.scratch);
  const std::span<uint32_t> first_item = context.scratch.take<uint32_t>(jobs.size() + 1);
  uint32_t items = 0, dim = 0;
  for (size_t j = 0; j < jobs.size(); ++j) {
    const ScoreJob& job = jobs[j];
    const uint32_t tiles = tiles_of(job.keys);
    LOCI_ASSERT(job.keys.pages.empty() || job.keys.pages.size() >= tiles, "every key has a page");
    LOCI_ASSERT(job.queries.stride == job.keys.layout->padded_dim, "queries are prepared and lie without gaps");
    LOCI_ASSERT(job.scores.width >= tiles * kPageSlots && job.scores.rows >= job.queries.rows,
                "scores have room for whole tiles");
    first_item[j] = items;
    items += (tiles + kItemTiles - 1) / kItemTiles;
    dim = std::max(dim, job.keys.layout->padded_dim);
  }
  first_item[jobs.size()] = items;
  const size_t tile_floats = size_t{dim} * kPageSlots;
  const std::span<float> decoded = context.scratch.take<float>(tile_floats * static_cast<size_t>(context.pool.size()));
  const SelectKernels& kernels = select_kernels(context.isa);
  const KvDecodeKernels& decode = kv_decode_kernels(context.isa);

  context.pool.parallel_for(items, [&](size_t item, int worker) {
    const auto next = std::upper_bound(first_item.begin(), first_item.end(), static_cast<uint32_t>(item));
    const size_t j = static_cast<size_t>(next - first_item.begin()) - 1;
    const ScoreJob& job = jobs[j];
    const uint32_t begin = (static_cast<uint32_t>(item) - first_item[j]) * kItemTiles;
    const uint32_t end = std::min(begin + kItemTiles, tiles_of(job.keys));
    const PageLayout& layout = *job.keys.layout;
    const bool halves = !job.keys.pages.empty() && layout.codec == KvCodec::kKv16 && job.queries.rows <= kFewRows;
    for (uint32_t t = begin; t < end; ++t) {
      float* out = job.scores.data + t * kPageSlots;
      if (halves) {
        kernels.score_halves(job.queries.data, job.queries.rows, layout.padded_dim,
                             reinterpret_cast<const uint16_t*>(job.keys.pages[t]), out, job.scores.stride);
        continue;
      }
      const float* tile = job.keys.tiles + size_t{t} * layout.padded_dim * kPageSlots;
      if (!job.keys.pages.empty()) {
        float* own = decoded.data() + static_cast<size_t>(worker) * tile_floats;
        decode.keys(layout, job.keys.pages[t], own);
        tile = own;
      }
      kernels.score_tile(job.queries.data, job.queries.rows, layout.padded_dim, tile, out, job.scores.stride);
    }
  });
}

size_t largest_scores_scratch_bytes(uint32_t padded_dim, uint32_t queries, int threads) {
  return Workspace::bytes_of<float>((size_t{padded_dim} + queries) * kPageSlots * static_cast<size_t>(threads));
}

void largest_scores(OpContext& context, std::span<const LargestJob> jobs) {
  const Workspace::Mark mark(context.scratch);
  size_t dim = 0, rows = 0;
  for (const LargestJob& job : jobs) {
    LOCI_ASSERT(job.queries.stride == job.keys.layout->padded_dim, "queries are prepared and lie without gaps");
    LOCI_ASSERT(job.largest.size() >= job.queries.rows && job.lengths.size() >= job.queries.rows,
                "every query has a length and a place");
    dim = std::max<size_t>(dim, job.queries.width);
    rows = std::max<size_t>(rows, job.queries.rows);
  }
  const size_t floats = (dim + rows) * kPageSlots;
  const std::span<float> own = context.scratch.take<float>(floats * static_cast<size_t>(context.pool.size()));
  const SelectKernels& kernels = select_kernels(context.isa);
  const KvDecodeKernels& decode = kv_decode_kernels(context.isa);
  context.pool.parallel_for(jobs.size(), [&](size_t index, int worker) {
    const LargestJob& job = jobs[index];
    float* decoded = own.data() + static_cast<size_t>(worker) * floats;
    float* scored = decoded + dim * kPageSlots;
    std::fill_n(job.largest.begin(), job.queries.rows, -std::numeric_limits<float>::infinity());
    for (uint32_t t = 0; t < tiles_of(job.keys); ++t) {
      const float* tile = decoded;
      if (job.keys.pages.empty()) {
        tile = job.keys.tiles + size_t{t} * job.queries.width * kPageSlots;
      } else {
        decode.keys(*job.keys.layout, job.keys.pages[t], decoded);
      }
      kernels.score_tile(job.queries.data, job.queries.rows, job.queries.width, tile, scored, kPageSlots);
      for (uint32_t r = 0; r < job.queries.rows; ++r) {
        const uint32_t seen = std::min(job.lengths[r], job.keys.count);
        if (seen <= t * kPageSlots) continue;
        const float most =
            kernels.largest(scored + size_t{r} * kPageSlots, std::min(kPageSlots, seen - t * kPageSlots));
        job.largest[r] = std::max(job.largest[r], most);
      }
    }
  });
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
