#include "model/batch.h"

#include "ops/rope.h"

namespace loci {

size_t batch_scratch_bytes(const ModelConfig& config, size_t rows) {
  size_t bytes = Workspace::bytes_of<int32_t>(rows);
  for (const RopeFrequencies& rope : config.rope)
    bytes += Workspace::bytes_of<float>(rows * 2 * rope.inverse_frequencies.size());
  return bytes;
}

Batch::Batch(OpContext& ops, const ModelConfig& config, Executor& executor, const WorkPlan& plan,
             std::span<const BatchItem> items)
    : ops_(ops), config_(config), executor_(executor), plan_(plan), items_(items) {
  for (const BatchItem& item : items) rows_ += item.rows;
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

void Batch::append(LayerId layer, const Rows& k, const Rows& v) {
  for (const BatchItem& item : items_) {
    item.cache->append(layer, item.rows);
    const std::span<const Table> tables = item.cache->tables(layer);
    // One work item per head and page, so that no two workers write the same page.
    const uint32_t first_page = item.first_position.value / kPageSlots;
    const uint32_t pages = (item.first_position.value + item.rows - 1) / kPageSlots - first_page + 1;
    for (size_t t = 0; t < tables.size(); ++t) {
      const std::span<const KvHead> heads = tables[t].heads();
      const auto write_page = [&](size_t index, int) {
        const size_t h = index % heads.size();
        const uint32_t page = first_page + static_cast<uint32_t>(index / heads.size());
        const size_t column = size_t{heads[h].value} * config_.head_dim;
        for (uint32_t i = 0; i < item.rows; ++i) {
          const TokenPos position = item.first_position + i;
          const uint32_t slot = tables[t].slots_before(position);
          if (slot / kPageSlots != tables[t].slots_before(item.first_position) / kPageSlots + (page - first_page))
            continue;
          item.cache->write_entry(layer, t, h, position, k.row(item.first_row + i) + column,
                                  v.row(item.first_row + i) + column);
        }
      };
      if (item.rows == 1) {
        for (size_t h = 0; h < heads.size(); ++h) write_page(h, 0);
      } else {
        ops_.pool.parallel_for(heads.size() * (pages + 1), write_page);
      }
    }
  }
}

Rows Batch::attend(LayerId layer, const Rows& q, const Rows& k, const Rows& v) {
  append(layer, k, v);
  reads_.clear();
  for (const BatchItem& item : items_) {
    for (const Table& table : item.cache->tables(layer)) {
      reads_.push_back({.table = &table,
                        .first_row = item.first_row,
                        .rows = item.rows,
                        .first_position = item.first_position,
                        .slots = {.window = config_.layer_window(layer.value)},
                        .phase = item.phase});
    }
  }
  Rows out = take(config_.q_width());
  executor_.run(ops_, plan_, reads_, q, config_.score_scale, out);
  return out;
}

}  // namespace loci
