#include "model/batch.h"

#include <algorithm>

#include "base/clock.h"
#include "ops/rope.h"

namespace loci {
namespace {
// Entries from which writing them is worth waking the workers for.
constexpr size_t kSpreadEntries = 16;

// Of one key outside of its page.
size_t rounded_bytes(const ModelConfig& config) {
  return rounded_key_bytes(page_layout(KvCodec::kKv4, config.head_dim).padded_dim);
}
}  // namespace

size_t Batch::scratch_bytes(const ModelConfig& config, size_t rows) {
  size_t bytes = Workspace::bytes_of<int32_t>(rows) + Workspace::bytes_of<PageWrite>(rows * config.kv_heads) +
                 Workspace::bytes_of<std::byte>(rows * config.kv_heads * rounded_bytes(config));
  for (const RopeFrequencies& rope : config.rope)
    bytes += Workspace::bytes_of<float>(rows * 2 * rope.inverse_frequencies.size());
  return bytes;
}

Batch::Batch(OpContext& ops, const ModelConfig& config, Executor& executor, const WorkPlan& plan,
             std::span<const BatchItem> items, Tap* tap)
    : ops_(ops),
      config_(config),
      executor_(executor),
      plan_(plan),
      items_(items),
      tap_(tap),
      selections_(items.size()),
      edits_(items.size()) {
  for (const BatchItem& item : items) rows_ += item.rows;
  writes_ = ops.scratch.take<PageWrite>(size_t{rows_} * config.kv_heads);
  rounded_keys_ = ops.scratch.take<std::byte>(size_t{rows_} * config.kv_heads * rounded_bytes(config));
  const std::span<int32_t> positions = ops.scratch.take<int32_t>(rows_);
  for (const BatchItem& item : items) {
    for (uint32_t i = 0; i < item.rows; ++i)
      positions[item.first_row + i] = static_cast<int32_t>(item.first_position.value + i);
  }
  for (const RopeFrequencies& rope : config.rope) {
    rope_.push_back(take(static_cast<uint32_t>(2 * rope.inverse_frequencies.size())));
    rope_angles(ops_, positions, rope.inverse_frequencies, rope.magnitude, rope_.back());
  }
}

void Batch::rotate(LayerId layer, Rows x, uint32_t heads) {
  const bool windowed = config_.layer_window(layer.value) > 0;
  const Rows& angles = windowed && rope_.size() > 1 ? rope_[1] : rope_[0];
  loci::rotate(ops_, x, heads, config_.head_dim, config_.rope_pairing, angles);
}

// All heads of a row together, before they go to their pages.
void Batch::round_keys(LayerId layer, const Rows& k, const KeyFeedback& feedback) {
  const auto stores_kv4 = [&](const BatchItem& item) { return item.cache->page(layer).codec == KvCodec::kKv4; };
  if (std::none_of(items_.begin(), items_.end(), stores_kv4)) return;
  const PageLayout page = page_layout(KvCodec::kKv4, config_.head_dim);
  const size_t row_bytes = config_.kv_heads * rounded_bytes(config_);
  const auto round = [&](size_t block, int) {
    const auto first = static_cast<uint32_t>(block * kKeyEntries), count = std::min(kKeyEntries, rows_ - first);
    loci::round_keys(ops_.isa, page, feedback, {k.data + size_t{first} * k.stride, count, k.width, k.stride},
                     rounded_keys_.data() + first * row_bytes);
  };
  const size_t blocks = (size_t{rows_} + kKeyEntries - 1) / kKeyEntries;
  if (size_t{rows_} * config_.kv_heads >= kSpreadEntries) {
    ops_.pool.parallel_for(blocks, round);
  } else {
    for (size_t block = 0; block < blocks; ++block) round(block, 0);
  }
}

void Batch::append(LayerId layer, const Rows& k, const Rows& v, const KeyFeedback* key_feedback) {
  if (key_feedback != nullptr) round_keys(layer, k, *key_feedback);
  const size_t key_bytes = rounded_bytes(config_), row_bytes = config_.kv_heads * key_bytes;
  size_t count = 0, entries = 0;
  for (const BatchItem& item : items_) {
    item.cache->append(layer, item.rows);
    const std::span<const Table> tables = item.cache->tables(layer);
    for (size_t t = 0; t < tables.size(); ++t) {
      // New entries are the table's last and lie side by side.
      const uint32_t first = tables[t].slots_before(item.first_position), end = first + item.rows;
      const auto heads = static_cast<uint32_t>(tables[t].heads().size());
      for (uint32_t slot = first; slot < end;) {
        const uint32_t next = std::min(end, (slot / kPageSlots + 1) * kPageSlots);
        for (uint32_t h = 0; h < heads; ++h) writes_[count++] = {&item, t, h, slot - first, next - slot};
        slot = next;
      }
      entries += size_t{item.rows} * heads;
    }
  }
  const auto write = [&](size_t index, int) {
    const PageWrite& w = writes_[index];
    const uint32_t head = w.item->cache->tables(layer)[w.table].heads()[w.head].value;
    const size_t column = size_t{head} * config_.head_dim, row = w.item->first_row + w.first_row;
    const std::byte* rounded = rounded_keys_.data() + row * row_bytes + head * key_bytes;
    w.item->cache->write_entries(layer, w.table, w.head, w.item->first_position + w.first_row,
                                 {.k = k.row(row) + column,
                                  .v = v.row(row) + column,
                                  .stride = k.stride,
                                  .count = w.rows,
                                  .rounded_keys = key_feedback != nullptr ? rounded : nullptr,
                                  .rounded_stride = row_bytes});
  };
  if (entries >= kSpreadEntries) {
    ops_.pool.parallel_for(count, write);
  } else {
    for (size_t i = 0; i < count; ++i) write(i, 0);
  }
}

LayerPass Batch::pass(size_t item, LayerId layer, const Rows& q) {
  const BatchItem& of = items_[item];
  return {.ops = ops_,
          .cache = *of.cache,
          .state = *of.state,
          .facts = *of.facts,
          .layer = layer,
          .phase = of.phase,
          .prompt_ends = of.prompt_ends,
          .first_position = of.first_position.value,
          .precision = plan_.precision,
          .queries = {q.data + size_t{of.first_row} * q.stride, of.rows, q.width, q.stride},
          .read_seconds = &read_by_selects_};
}

void Batch::name_reads(LayerId layer, const Rows& q) {
  reads_.clear();
  extras_.clear();
  std::vector<ExtraEntry> by_head;
  for (size_t i = 0; i < items_.size(); ++i) {
    const BatchItem& item = items_[i];
    const LayerPass of = pass(i, layer, q);
    item.stages->name_reads(of, selections_[i]);
    item.stages->add_entries(of, by_head);
    const std::span<const Table> tables = item.cache->tables(layer);
    for (size_t t = 0; t < tables.size(); ++t) {
      const Selection& selection = selections_[i][t];
      reads_.push_back({.table = &tables[t],
                        .first_row = item.first_row,
                        .rows = item.rows,
                        .first_position = item.first_position,
                        .slots = item.cache->pattern(layer, t),
                        .part = PartId{0},
                        .phase = item.phase == Phase::kDecode ? ReadPhase::kDecode : ReadPhase::kPrompt,
                        .selection = selection.tile > 0 ? &selection : nullptr});
      extras_.emplace_back();
      if (by_head.empty()) continue;
      for (const KvHead head : tables[t].heads()) extras_.back().push_back(by_head[head.value]);
    }
  }
  for (size_t r = 0; r < reads_.size(); ++r) reads_[r].extras = extras_[r];
}

// Reads one item's tables for the tap.
class Batch::ItemReader final : public TapReader {
 public:
  ItemReader(Batch& batch, size_t item, LayerId layer, const Rows& q)
      : batch_(batch), item_(batch.items_[item]), layer_(layer), queries_(batch.pass(item, layer, q).queries) {}

  void read(size_t table, const Pattern& pattern, Rows o, std::span<float> lse) override {
    const Read one{.table = &item_.cache->tables(layer_)[table],
                   .first_row = 0,
                   .rows = item_.rows,
                   .first_position = item_.first_position,
                   .slots = pattern,
                   .part = PartId{1},
                   .phase = item_.phase == Phase::kDecode ? ReadPhase::kDecode : ReadPhase::kPrompt};
    batch_.executor_.run(batch_.ops_, batch_.plan_, std::span(&one, 1), queries_, batch_.config_.score_scale, o, lse);
  }

 private:
  Batch& batch_;
  const BatchItem& item_;
  LayerId layer_;
  Rows queries_;
};

// Room for the reads' lse, if anybody asks for it.
std::span<float> Batch::take_lse(LayerId layer) {
  const size_t count = size_t{rows_} * config_.query_heads;
  const auto mixes = [&](const BatchItem& item) { return item.stages->mixes(layer); };
  if (std::any_of(items_.begin(), items_.end(), mixes)) return ops_.scratch.take<float>(count);
  if (tap_ == nullptr) return {};
  tapped_lse_.resize(count);
  return tapped_lse_;
}

// Of each item: Mixes combine, the tap looks, Retains say what is kept.
void Batch::after_read(LayerId layer, const Rows& q, Rows out, std::span<float> lse) {
  for (size_t i = 0; i < items_.size(); ++i) {
    const BatchItem& item = items_[i];
    const LayerPass of = pass(i, layer, q);
    if (!lse.empty()) {
      const Rows o{out.row(item.first_row), item.rows, out.width, out.stride};
      const std::span<float> own =
          lse.subspan(size_t{item.first_row} * config_.query_heads, size_t{item.rows} * config_.query_heads);
      item.stages->mix(of, o, own);
      if (tap_ != nullptr) {
        ItemReader reader(*this, i, layer, q);
        tap_->after_read(item.stages->watch(of), o, own, reader);
      }
    }
    item.stages->after_prompt(of, edits_[i]);
  }
}

Rows Batch::attend(LayerId layer, const Rows& q, const Rows& k, const Rows& v, const KeyFeedback* key_feedback) {
  LOCI_ASSERT(k.stride == v.stride, "keys and values are laid out alike");
  append(layer, k, v, key_feedback);
  Rows out = take(config_.q_width());
  const Workspace::Mark scratch(ops_.scratch);
  for (size_t i = 0; tap_ != nullptr && i < items_.size(); ++i) {
    const LayerPass of = pass(i, layer, q);
    tap_->before_read(items_[i].stages->watch(of), of.queries);
  }
  const double begin = seconds_now();
  read_by_selects_ = 0;
  name_reads(layer, q);
  const std::span<float> lse = take_lse(layer);
  const double named = seconds_now();
  executor_.run(ops_, plan_, reads_, q, config_.score_scale, out, lse);
  const double read = seconds_now();
  if (listener_ != nullptr) listener_->on_read(layer, executor_.tiles());
  after_read(layer, q, out, lse);
  seconds_.read += read - named + read_by_selects_;
  seconds_.select += named - begin - read_by_selects_ + (seconds_now() - read);
  return out;
}

}  // namespace loci
