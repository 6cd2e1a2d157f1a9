#include "attention/stages/stages.h"

#include <algorithm>
#include <map>

#include "base/assert.h"
#include "base/checked.h"

namespace loci {
namespace {
constexpr size_t kMostTables = 64;  // of a layer
}  // namespace

Stages::Stages(Stages&&) noexcept = default;
Stages& Stages::operator=(Stages&&) noexcept = default;
Stages::~Stages() = default;

template <typename T>
Result<uint32_t> Stages::add(std::vector<Made<T>>& made, const MethodCall& call, Make<T> maker,
                             const MethodContext& context) {
  if (maker == nullptr) return kNone;  // dense
  for (uint32_t i = 0; i < made.size(); ++i) {
    if (made[i].call == call) return i;
  }
  LOCI_TRY(std::unique_ptr<T> object, maker(call, context));
  made.push_back({call, std::move(object), methods_++});
  return static_cast<uint32_t>(made.size() - 1);
}

Result<Stages> Stages::make(const AttentionPlan& plan, const ModelShape& model, const MethodContext& context) {
  Stages out;
  out.model_ = model;
  out.layers_.resize(model.layers);
  for (uint32_t i = 0; i < model.layers; ++i) LOCI_CHECK(out.add_layer(plan, LayerId(i), context));
  return out;
}

Status Stages::add_layer(const AttentionPlan& plan, LayerId id, const MethodContext& context) {
  Layer& layer = layers_[id.value];
  layer.retain.resize(model_.kv_heads);
  for (std::vector<uint32_t>& select : layer.select) select.assign(model_.kv_heads, kNone);
  for (uint32_t h = 0; h < model_.kv_heads && model_.open(id); ++h) {
    for (const MethodCall& call : plan.retain(id, KvHead(h))) {
      LOCI_TRY(const uint32_t index, add(retains_, call, call.method->make_retain, context));
      if (index != kNone) layer.retain[h].push_back(index);
    }
    for (const Phase phase : kPhases) {
      const MethodCall* call = plan.select(phase, id, KvHead(h));
      if (call == nullptr) continue;
      LOCI_TRY(layer.select[static_cast<size_t>(phase)][h], add(selects_, *call, call->method->make_select, context));
    }
  }
  for (uint32_t h = 0; h < model_.query_heads; ++h) {
    for (const MethodCall& call : plan.mix(id, QueryHead(h))) {
      LOCI_TRY(const uint32_t index, add(mixes_, call, call.method->make_mix, context));
      if (index == kNone) continue;
      auto found = std::find_if(layer.mixing.begin(), layer.mixing.end(),
                                [&](const MixHeads& mixing) { return mixing.method == index; });
      if (found == layer.mixing.end()) found = layer.mixing.insert(found, {index, {}});
      found->heads.push_back(QueryHead(h));
    }
  }
  for (uint32_t h = 0; h < model_.kv_heads; ++h) {
    layer.cut_off.push_back(model_.open(id) && layer.retain[h].empty() && cut_off(layer, id, KvHead(h)));
    if (!layer.cut_off[h]) continue;
    for (std::vector<uint32_t>& select : layer.select) select[h] = kNone;
  }
  return {};
}

bool Stages::cut_off(const Layer& layer, LayerId id, KvHead head) const {
  for (uint32_t q = head.value * model_.group(); q < (head.value + 1) * model_.group(); ++q) {
    uint32_t asked = 0, cuts = 0;
    for (const MixHeads& mixing : layer.mixing) {
      if (std::find(mixing.heads.begin(), mixing.heads.end(), QueryHead(q)) == mixing.heads.end()) continue;
      ++asked;
      if (mixes_[mixing.method].object->cuts_off(id, QueryHead(q))) ++cuts;
    }
    if (asked != 1 || cuts != 1) return false;
  }
  return true;
}

std::vector<std::vector<KvHead>> Stages::classes(LayerId id) const {
  const Layer& layer = layers_[id.value];
  std::map<std::vector<uint32_t>, std::vector<KvHead>> by_answers;
  for (uint32_t h = 0; h < model_.kv_heads; ++h) {
    std::vector<uint32_t> answers;
    for (const uint32_t retain : layer.retain[h]) {
      answers.push_back(retain);
      answers.push_back(retains_[retain].object->head_class(id, KvHead(h)));
    }
    for (const std::vector<uint32_t>& select : layer.select) answers.push_back(select[h]);
    answers.push_back(layer.cut_off[h] ? 1 : 0);
    by_answers[answers].push_back(KvHead(h));
  }
  std::vector<std::vector<KvHead>> out;
  for (auto& [answers, heads] : by_answers) out.push_back(std::move(heads));
  std::sort(out.begin(), out.end());
  return out;
}

Pattern Stages::pattern(LayerId id, KvHead head, Phase phase, const RequestFacts& facts) const {
  if (layers_[id.value].cut_off[head.value]) return {.window = 1};
  const std::vector<uint32_t>& retains = layers_[id.value].retain[head.value];
  if (retains.empty()) return {.window = model_.windows[id.value]};
  Pattern out = retains_[retains[0]].object->pattern(id, head, phase, facts);
  for (size_t i = 1; i < retains.size(); ++i)
    out = cover(out, retains_[retains[i]].object->pattern(id, head, phase, facts));
  return out;
}

bool Stages::edited(LayerId id, KvHead head) const {
  const std::vector<uint32_t>& retains = layers_[id.value].retain[head.value];
  return std::any_of(retains.begin(), retains.end(), [&](uint32_t r) { return retains_[r].object->edits(); });
}

// Stripes that a head holds at most when its prompt has been read.
uint64_t Stages::stripes_after(LayerId id, KvHead head, uint32_t prompt, uint32_t total, uint32_t span) const {
  const RequestFacts facts{.prompt_tokens = prompt, .total_tokens = total, .seed = 0, .task = {}, .spans = {}};
  const uint64_t all = div_up(total, kPageSlots);
  if (!edited(id, head)) {
    const Pattern pattern = this->pattern(id, head, Phase::kDecode, facts);
    if (pattern.window > 0 || pattern.dense()) return CacheLayout::stripes(pattern, total, span);
    const uint64_t tail = total > pattern.floor ? total - pattern.floor : 0;
    return std::min(all, div_up(pattern.sinks, kPageSlots) + div_up(tail, kPageSlots) + 1);
  }
  return std::min(all, div_up(kept_of_prompt(id, head, facts) + (total - prompt), kPageSlots));
}

// Entries of the prompt that are left of an edited head, at most; all of them only if they are sure to be left.
uint64_t Stages::kept_of_prompt(LayerId id, KvHead head, const RequestFacts& facts) const {
  const uint32_t prompt = facts.prompt_tokens;
  uint64_t kept = 0;
  for (const uint32_t r : layers_[id.value].retain[head.value]) {
    const Retain& retain = *retains_[r].object;
    const uint64_t of_one = retain.edits()
                                ? retain.kept(id, head, prompt)
                                : retain.pattern(id, head, Phase::kDecode, facts).count(prompt > 0 ? prompt - 1 : 0);
    if (of_one >= prompt) return prompt;
    kept += of_one;
  }
  // Several may name the same entries.
  return std::min<uint64_t>(kept, prompt > 0 ? prompt - 1 : 0);
}

LayerBytes Stages::layer_bytes(const LayerShape& shape, LayerId layer, uint32_t prompt, uint32_t total,
                               uint32_t span) const {
  const RequestFacts facts{.prompt_tokens = prompt, .total_tokens = total, .seed = 0, .task = {}, .spans = {}};
  const uint64_t page = page_layout(shape.codec, shape.head_dim).bytes;
  LayerBytes out;
  for (uint32_t h = 0; h < shape.kv_heads; ++h) {
    out.reading += CacheLayout::stripes(pattern(layer, KvHead(h), Phase::kPrefill, facts), prompt, span) * page;
    const uint64_t after = stripes_after(layer, KvHead(h), prompt, total, span) * page;
    out.writing += after;
    // Head by head, each giving back what it had. Who keeps everything is not copied.
    if (edited(layer, KvHead(h)) && kept_of_prompt(layer, KvHead(h), facts) < prompt)
      out.copied = std::max(out.copied, after);
  }
  return out;
}

uint64_t Stages::page_bytes(std::span<const LayerShape> layers, uint32_t prompt, uint32_t total, uint32_t span) const {
  LayerBytes all;
  for (uint32_t i = 0; i < layers.size(); ++i) {
    const LayerBytes one = layer_bytes(layers[i], LayerId(i), prompt, total, span);
    all.reading += one.reading;
    all.writing += one.writing;
    all.copied = std::max(all.copied, one.copied);
  }
  return std::max(all.reading + all.copied, all.writing);
}

uint64_t Stages::state_bytes(const StageBounds& bounds) const {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < layers_.size(); ++i) {
    const auto add_up = [&](const auto& made) {
      for (const auto& method : made) bytes += method.object->state_bytes(LayerId(i), bounds);
    };
    add_up(mixes_);
    if (!model_.open(LayerId(i))) continue;
    add_up(retains_);
    add_up(selects_);
  }
  return bytes;
}

uint64_t Stages::scratch_bytes(const StageBounds& bounds) const {
  uint64_t bytes = 0;
  const auto widest = [&](const auto& made) {
    uint64_t most = 0;
    for (const auto& method : made) most = std::max(most, method.object->scratch_bytes(bounds));
    return most;
  };
  // Selections live until the read is done; several methods may select in one layer.
  for (const Made<Select>& select : selects_) bytes += select.object->scratch_bytes(bounds);
  return bytes + widest(mixes_) + widest(retains_);
}

void Stages::narrow(SequenceCache& cache, Phase phase, const RequestFacts& facts) const {
  for (uint32_t i = 0; i < layers_.size(); ++i) {
    const LayerId layer(i);
    if (!model_.open(layer)) continue;
    for (size_t t = 0; t < cache.tables(layer).size(); ++t)
      cache.narrow(layer, t, pattern(layer, cache.tables(layer)[t].heads()[0], phase, facts));
  }
}

View Stages::view(const LayerPass& pass, uint32_t number) const {
  return {.ops = pass.ops,
          .model = model_,
          .facts = pass.facts,
          .cache = pass.cache,
          .layer = pass.layer,
          .phase = pass.phase,
          .prompt_ends = pass.prompt_ends,
          .first_position = pass.first_position,
          .precision = pass.precision,
          .queries = pass.queries,
          .read_seconds = pass.read_seconds,
          .state = MethodState(pass.state, number, pass.layer.value, pass.first_position + pass.queries.rows)};
}

void Stages::name_reads(const LayerPass& pass, std::vector<Selection>& selections) const {
  const std::span<const Table> tables = pass.cache.tables(pass.layer);
  selections.assign(tables.size(), {.tile = 0, .parts = 1, .pages = {}, .slots = {}, .copies = {}, .scores = {}});
  std::array<bool, kMostTables> memory{};
  LOCI_ASSERT(tables.size() <= memory.size(), "a layer has no more tables than heads");
  const std::span<bool> mine = std::span(memory).first(tables.size());
  for (uint32_t s = 0; s < selects_.size(); ++s) {
    if (!asked(pass, pass.phase, s, mine)) continue;
    ReadBuilder builder(pass.ops, selections, mine);
    selects_[s].object->name_reads(view(pass, selects_[s].number), builder);
  }
}

bool Stages::asked(const LayerPass& pass, Phase phase, uint32_t select, std::span<bool> mine) const {
  const std::span<const Table> tables = pass.cache.tables(pass.layer);
  const std::vector<uint32_t>& answers = layers_[pass.layer.value].select[static_cast<size_t>(phase)];
  bool any = false;
  for (size_t t = 0; t < tables.size(); ++t) {
    // A head that keeps a window reads all that it keeps.
    mine[t] = answers[tables[t].heads()[0].value] == select && pass.cache.pattern(pass.layer, t).dense();
    any = any || mine[t];
  }
  return any;
}

void Stages::add_entries(const LayerPass& pass, std::vector<ExtraEntry>& extras) const {
  extras.clear();
  if (pass.phase != Phase::kDecode || !model_.open(pass.layer)) return;
  for (const Made<Retain>& retain : retains_) {
    extras.resize(model_.kv_heads);
    retain.object->add_entries(view(pass, retain.number), extras);
  }
}

void Stages::mix(const LayerPass& pass, Rows o, std::span<const float> lse) const {
  for (const MixHeads& mixing : layers_[pass.layer.value].mixing) {
    const Made<Mix>& made = mixes_[mixing.method];
    made.object->after_read(view(pass, made.number), mixing.heads, o, lse);
  }
}

std::vector<KvHead> Stages::heads_of(const Layer& layer, uint32_t retain) const {
  std::vector<KvHead> heads;
  for (uint32_t h = 0; h < model_.kv_heads; ++h) {
    if (std::find(layer.retain[h].begin(), layer.retain[h].end(), retain) != layer.retain[h].end())
      heads.push_back(KvHead(h));
  }
  return heads;
}

namespace {

const Table& table_of(std::span<const Table> tables, KvHead head) {
  const auto found = std::find_if(tables.begin(), tables.end(), [&](const Table& table) {
    return std::find(table.heads().begin(), table.heads().end(), head) != table.heads().end();
  });
  LOCI_ASSERT(found != tables.end(), "every KV head has a table");
  return *found;
}

// Slots of the entries that the next reader's pattern holds.
std::vector<SlotId> slots_in(const Table& table, const Pattern& pattern, uint32_t tokens) {
  std::vector<SlotId> slots;
  const uint32_t sinks = table.slots_before(TokenPos(std::min(pattern.sinks, tokens)));
  for (uint32_t slot = 0; slot < sinks; ++slot) slots.push_back(SlotId(slot));
  for (uint32_t slot = std::max(sinks, table.slots_before(TokenPos(pattern.oldest(tokens - 1)))); slot < table.length();
       ++slot)
    slots.push_back(SlotId(slot));
  return slots;
}

void unite(std::vector<SlotId>& into, std::span<const SlotId> from) {
  std::vector<SlotId> both;
  std::set_union(into.begin(), into.end(), from.begin(), from.end(), std::back_inserter(both));
  into = std::move(both);
}

}  // namespace

void Stages::after_prompt(const LayerPass& pass, std::vector<KeptEntries>& out) const {
  if (!pass.prompt_ends || !model_.open(pass.layer)) return;
  const Layer& layer = layers_[pass.layer.value];
  const std::span<const Table> tables = pass.cache.tables(pass.layer);
  const uint32_t tokens = pass.first_position + pass.queries.rows;
  std::array<bool, kMostTables> mine{};
  for (uint32_t s = 0; s < selects_.size(); ++s) {
    const Workspace::Mark mark(pass.ops.scratch);
    if (asked(pass, Phase::kDecode, s, std::span(mine).first(tables.size())))
      selects_[s].object->after_prompt(view(pass, selects_[s].number), std::span(mine).first(tables.size()));
  }
  std::vector<std::vector<SlotId>> kept(model_.kv_heads);
  std::vector<uint32_t> named(model_.kv_heads, 0);  // retains that have said what they keep of a head
  for (uint32_t r = 0; r < retains_.size(); ++r) {
    CacheEdit edit(heads_of(layer, r));
    if (edit.heads().empty()) continue;
    const Retain& retain = *retains_[r].object;
    const Workspace::Mark mark(pass.ops.scratch);
    retain.after_prompt(view(pass, retains_[r].number), edit);
    if (!retain.edits()) {
      for (const KvHead head : edit.heads()) {
        const Pattern pattern = retain.pattern(pass.layer, head, Phase::kDecode, pass.facts);
        if (!edited(pass.layer, head) || pattern.dense()) continue;
        edit.keep(head, slots_in(table_of(tables, head), pattern, tokens));
      }
    }
    for (CacheEdit::Kept& one : edit.kept()) {
      LOCI_ASSERT(std::is_sorted(one.slots.begin(), one.slots.end()), "slots are kept in ascending order");
      unite(kept[one.head.value], one.slots);
      ++named[one.head.value];
    }
  }
  for (const Table& table : tables) {
    for (const KvHead head : table.heads()) {
      const size_t asked = layer.retain[head.value].size();
      // Who names no slots keeps everything.
      if (asked == 0 || named[head.value] < asked || kept[head.value].size() == table.length()) continue;
      out.push_back({pass.layer, {head}, std::move(kept[head.value])});
    }
  }
}

}  // namespace loci
