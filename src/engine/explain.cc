// Engine::explain: which entries the heads keep and read, counted while a request runs.
#include <algorithm>
#include <bit>

#include "base/checked.h"
#include "engine/admission.h"
#include "engine/coverage.h"
#include "engine/engine_state.h"
#include "engine/generation.h"
#include "engine/memory_picture.h"

namespace loci {
namespace {

// Pairs of a query and an entry, by KV head of a layer and stretch of the entry's position.
class ReadCounts final : public ReadListener {
 public:
  ReadCounts(const ModelShape& model, uint32_t stretch, uint32_t stretches)
      : model_(model), stretch_(stretch), stretches_(stretches) {
    for (std::vector<double>* counts : {&prompt_.read, &prompt_.seen, &decode_.read, &decode_.seen})
      counts->assign(size_t{model.layers} * model.kv_heads * stretches, 0.0);
  }

  void on_read(LayerId layer, const TileList& list) override {
    for (const Tile& tile : list.tiles()) {
      Pairs& pairs = tile.read->phase == ReadPhase::kDecode ? decode_ : prompt_;
      const Table& table = *tile.read->table;
      const size_t row = (size_t{layer.value} * model_.kv_heads + table.heads()[tile.head_index].value) * stretches_;
      for (uint32_t i = 0; i < tile.positions; ++i) {
        const uint32_t position = tile.first_position.value + i;
        // What it could see is everything before it, evicted or not.
        add(pairs.seen.data() + row, 0, position + 1, tile.heads);
        count(list, tile, position, pairs.read.data() + row);
      }
    }
  }

  // Shares of a head's stretches.
  std::vector<float> shares(Phase phase, size_t head) const {
    const Pairs& pairs = phase == Phase::kDecode ? decode_ : prompt_;
    std::vector<float> out(stretches_, 0.0F);
    for (uint32_t s = 0; s < stretches_; ++s) {
      const size_t at = head * stretches_ + s;
      if (pairs.seen[at] > 0) out[s] = static_cast<float>(std::min(1.0, pairs.read[at] / pairs.seen[at]));
    }
    return out;
  }

 private:
  struct Pairs {
    std::vector<double> read, seen;
  };

  // Positions [first, last), counted `weight` times.
  void add(double* counts, uint32_t first, uint32_t last, double weight) const {
    for (uint32_t at = first; at < last;) {
      const uint32_t end = std::min(last, (at / stretch_ + 1) * stretch_);
      counts[at / stretch_] += weight * (end - at);
      at = end;
    }
  }

  void add_slots(const Table& table, double* counts, uint32_t first, uint32_t last, double weight) const {
    if (table.affine()) {
      add(counts, first, last, weight);
      return;
    }
    for (uint32_t slot = first; slot < last; ++slot) counts[table.position(SlotId(slot)).value / stretch_] += weight;
  }

  void count(const TileList& list, const Tile& tile, uint32_t position, double* counts) const {
    const Table& table = *tile.read->table;
    const Pattern& pattern = tile.read->slots;
    const uint32_t length = table.slots_before(TokenPos(position + 1));
    if (!tile.selected) {
      add_slots(table, counts, 0, table.slots_before(TokenPos(std::min(pattern.sinks, position + 1))), tile.heads);
      add_slots(table, counts, std::min(length, table.slots_before(TokenPos(pattern.oldest(position)))), length,
                tile.heads);
      return;
    }
    const auto add_page = [&](size_t page) {
      const auto begin = static_cast<uint32_t>(page * kPageSlots);
      add_slots(table, counts, std::min(begin, length), std::min(begin + kPageSlots, length), tile.heads);
    };
    for (uint32_t b = 0; b < tile.page_count; ++b) add_page(list.block(tile, b).index);
    for (size_t w = 0; w < tile.read_before.size(); ++w) {
      for (uint64_t bits = tile.read_before[w]; bits != 0; bits &= bits - 1)
        add_page(w * 64 + static_cast<size_t>(std::countr_zero(bits)));
    }
    for (const uint32_t slot : tile.slots) add_slots(table, counts, slot, slot + 1, tile.heads);
    for (uint32_t i = 0; i < tile.copy_count; ++i) counts[tile.copy_positions[i] / stretch_] += tile.heads;
  }

  const ModelShape& model_;
  uint32_t stretch_;
  uint32_t stretches_;
  Pairs prompt_, decode_;
};

// Listens as long as it lives.
class Listening {
 public:
  Listening(Core& core, ReadListener& listener, Tap* tap) : core_(core) {
    core.watch(&listener);
    core.listen(tap);
  }
  ~Listening() {
    core_.watch(nullptr);
    core_.listen(nullptr);
  }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;

 private:
  Core& core_;
};

size_t table_of(const SequenceCache& cache, LayerId layer, KvHead head) {
  const std::span<const Table> tables = cache.tables(layer);
  const auto found = std::find_if(tables.begin(), tables.end(), [&](const Table& table) {
    return std::find(table.heads().begin(), table.heads().end(), head) != table.heads().end();
  });
  return static_cast<size_t>(found - tables.begin());
}

Status run_alone(Core& core, Generation& generation) {
  while (!generation.done()) {
    Sequence& sequence = generation.sequence();
    const uint32_t rows = sequence.next_rows(0);
    const Feed feed{&sequence, rows, rows == sequence.unfed() ? Feed::Logits::kLast : Feed::Logits::kNone};
    LOCI_CHECK(core.forward(
        std::span(&feed, 1), [&] { return generation.cancelled(); },
        [&](size_t, uint32_t, const Rows& logits) { return generation.take(logits.span(0)); }));
    generation.passed();
  }
  return {};
}

}  // namespace

Result<Explanation> Engine::explain(const Request& request, const ExplainOptions& options) {
  Core& core = *state_->core;
  const uint32_t stretches = options.stretches;
  if (stretches == 0 || stretches > 4096)
    return fail(ErrorCode::kInvalidArgument, "{} stretches were asked for, but the number must lie in 1..4096",
                stretches);
  Sequence sequence = core.new_sequence();
  LOCI_TRY(Generation generation, Generation::begin(core, *state_->tokenizer, request, sequence, /*adopt=*/false));
  const Claim claim{&sequence, generation.prompt_end(), generation.most_fed()};
  LOCI_CHECK(fits(core, std::span(&claim, 1)));
  const uint32_t stretch = std::max(1u, static_cast<uint32_t>(div_up(generation.most_fed(), stretches)));
  ReadCounts counts(core.stages().model(), stretch, stretches);
  CoverageTap coverage(core.stages().model());
  {
    const Listening listening(core, counts, options.coverage ? &coverage : nullptr);
    LOCI_CHECK(run_alone(core, generation));
  }
  Explanation out;
  out.completion = generation.complete();
  out.tokens = sequence.cache.tokens();
  out.stretches = static_cast<uint32_t>(div_up(out.tokens, stretch));
  const ModelShape& model = core.stages().model();
  for (uint32_t l = 0; l < model.layers; ++l) {
    for (uint32_t h = 0; h < model.kv_heads; ++h) {
      HeadPicture picture{.layer = l,
                          .kv_head = h,
                          .kept = kept_shares(sequence.cache, LayerId(l),
                                              table_of(sequence.cache, LayerId(l), KvHead(h)), stretch, stretches),
                          .in_prompt = counts.shares(Phase::kPrefill, size_t{l} * model.kv_heads + h),
                          .in_decode = counts.shares(Phase::kDecode, size_t{l} * model.kv_heads + h),
                          .prompt_coverage = coverage.of(Phase::kPrefill, size_t{l} * model.kv_heads + h),
                          .decode_coverage = coverage.of(Phase::kDecode, size_t{l} * model.kv_heads + h)};
      for (std::vector<float>* shares : {&picture.kept, &picture.in_prompt, &picture.in_decode})
        shares->resize(out.stretches);
      out.heads.push_back(std::move(picture));
    }
  }
  return out;
}

}  // namespace loci
