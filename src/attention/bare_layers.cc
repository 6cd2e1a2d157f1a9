#include "attention/bare_layers.h"

#include <algorithm>
#include <bit>
#include <random>

#include "attention/executor.h"
#include "attention/stages/stages.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/memory.h"
#include "io/profile.h"

namespace loci {
namespace {

constexpr uint32_t kVectors = 4099;     // random vectors that entries and queries are drawn from
constexpr uint32_t kPromptChunk = 512;  // appended at a time
constexpr uint32_t kShownRows = 64;     // of a prompt's end, to methods that look at them
constexpr float kAlikeNoise = 0.2F;     // of a query that is nearly the last one: a cosine of 0.98

// Vectors of independent normal numbers, by number.
class RandomVectors {
 public:
  RandomVectors(uint32_t dim, uint64_t seed) : dim_(dim), numbers_(size_t{kVectors} * dim) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal(0, 1);
    for (float& x : numbers_) x = normal(random);
  }
  const float* at(uint64_t number) const { return numbers_.data() + number % kVectors * dim_; }

 private:
  uint32_t dim_;
  std::vector<float> numbers_;
};

uint64_t mixed(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9e3779b97f4a7c15u + b + 1;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Every table that some method's profile may be asked for.
Profile made_up_profile(std::string_view kind, const ModelShape& model, uint64_t seed) {
  Profile out;
  out.kind = kind;
  out.model = model.fingerprint;
  out.layers = model.layers;
  out.heads = model.kv_heads;
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (const char* table : {"gate", "retrieval", "mass", "induction", "echo", "beta", "gain", "distance"}) {
    std::vector<double>& values = out.values[table];
    values.resize(size_t{model.layers} * model.kv_heads);
    for (double& x : values) x = uniform(random);
  }
  out.values["alpha"].assign(size_t{model.layers} * model.kv_heads, 0.0);
  return out;
}

// Bytes of the entries that a decode step's row reads, over the heads of the table. Of an entry whose score is known
// the key is not read.
uint64_t bytes_read(const Read& read) {
  const Table& table = *read.table;
  const auto heads = static_cast<uint32_t>(table.heads().size());
  const TokenPos end = read.first_position + 1u;
  if (read.selection == nullptr) {
    const uint32_t sinks = table.slots_before(TokenPos(std::min(read.slots.sinks, end.value)));
    const uint32_t oldest = table.slots_before(TokenPos(read.slots.oldest(read.first_position.value)));
    const uint64_t entries = sinks + table.slots_before(end) - std::min(oldest, table.slots_before(end));
    return heads * entries * table.layout().bytes / kPageSlots;
  }
  const Selection& selection = *read.selection;
  uint64_t halves = 0;
  const uint64_t listed = selection.scores.data == nullptr ? 2 : 1;
  const uint64_t copied = selection.copies.scores.data == nullptr ? 2 : 1;
  for (size_t row = 0; row < size_t{heads} * selection.parts; ++row) {
    if (selection.pages.words != nullptr) {
      for (const uint64_t word : selection.pages.row(row))
        halves += listed * kPageSlots * uint64_t(std::popcount(word));
    }
    if (selection.copies.pages != nullptr) halves += copied * selection.copies.counts[row];
    if (selection.slots.elements != nullptr) halves += listed * selection.slots.counts[row];
  }
  return halves / selection.parts * table.layout().bytes / kPageSlots / 2;
}

struct BareSequence {
  explicit BareSequence(const CacheLayout& layout) : cache(layout) {}
  SequenceCache cache;
  SequenceState state;
  RequestFacts facts;
};

}  // namespace

struct BareLayers::State {
  State(const BareLayersOptions& o, ThreadPool& p) : options(o), threads(p), vectors(o.model.head_dim, o.seed) {}

  Status make(const AttentionPlan& plan);
  Status fill(BareSequence& sequence, size_t number);
  void append(BareSequence& sequence, LayerId layer, uint32_t rows);
  void write_queries(size_t sequence, LayerId layer, uint64_t epoch, uint64_t noise, float* to) const;
  void run_layer(LayerId layer, BareStep& out);
  LayerPass pass(OpContext& ops, size_t sequence, LayerId layer, Rows queries) const;

  BareLayersOptions options;
  ThreadPool& threads;
  RandomVectors vectors;
  std::string made_up;
  std::unique_ptr<Stages> stages;
  std::unique_ptr<PagePool> pages;
  std::unique_ptr<CacheLayout> layout;
  WorkPlan work;
  std::unique_ptr<Workspace> scratch;
  Executor executor;
  ScheduleTimes times;
  mutable std::vector<BareSequence> sequences;
  uint64_t step = 0;   // number of the step to come
  uint64_t epoch = 0;  // of its queries: steps of one epoch are alike
};

Status BareLayers::State::make(const AttentionPlan& plan) {
  const ModelShape& model = options.model;
  const uint32_t deepest = *std::max_element(options.depths.begin(), options.depths.end());
  const uint32_t context = deepest + options.steps;
  const MethodContext of{
      .model = model, .context = context, .profile = [this](std::string_view kind, const std::string&) {
        if (made_up.find(kind) == std::string::npos) made_up += fmt::format("{}{}", made_up.empty() ? "" : ", ", kind);
        return Result<Profile>(made_up_profile(kind, options.model, options.seed));
      }};
  LOCI_CHECK(plan.check({.layers = model.layers, .kv_heads = model.kv_heads, .query_heads = model.query_heads}));
  LOCI_TRY(Stages made, Stages::make(plan, model, of));
  stages = std::make_unique<Stages>(std::move(made));
  std::vector<LayerShape> layers;
  for (uint32_t i = 0; i < model.layers; ++i) {
    layers.push_back({.kv_heads = model.kv_heads,
                      .head_dim = model.head_dim,
                      .codec = plan.codec(LayerId(i)),
                      .window = model.windows[i],
                      .classes = stages->classes(LayerId(i))});
  }
  uint64_t bytes = 0;
  for (const uint32_t depth : options.depths)
    bytes += stages->page_bytes(layers, depth, depth + options.steps, kPromptChunk) +
             CacheLayout::sequence_bytes(layers, kPageSlots, 1);
  const auto count = static_cast<uint32_t>(options.depths.size());
  work = Executor::plan({.rows = count,
                         .reads = count,
                         .slots = context,
                         .query_heads = model.query_heads,
                         .kv_heads = model.kv_heads,
                         .head_dim = model.head_dim,
                         .precision = ReadPrecision::kFast,
                         .schedule = options.schedule},
                        threads.size());
  const StageBounds shown{.rows = kShownRows, .tokens = context, .threads = threads.size()};
  const StageBounds one{.rows = 1, .tokens = context, .threads = threads.size()};
  const uint64_t scratch_bytes =
      work.scratch_bytes + stages->scratch_bytes(shown) + count * stages->scratch_bytes(one) +
      2 * Workspace::bytes_of<float>(uint64_t{std::max(count, kShownRows)} * model.q_width()) +
      Workspace::bytes_of<float>(uint64_t{count} * model.query_heads);
  const uint64_t state_bytes = count * stages->state_bytes(one);
  if (bytes + scratch_bytes + state_bytes > available_memory_bytes()) {
    return fail(ErrorCode::kLimit,
                "the caches need {} bytes, but {} are free; ask for fewer layers (--shape), a lesser --depth or a "
                "smaller --batch",
                bytes + scratch_bytes + state_bytes, available_memory_bytes());
  }
  pages = std::make_unique<PagePool>(bytes);
  layout = std::make_unique<CacheLayout>(std::move(layers), *pages);
  LOCI_TRY(Workspace workspace, Workspace::allocate(scratch_bytes));
  scratch = std::make_unique<Workspace>(std::move(workspace));
  for (size_t i = 0; i < options.depths.size(); ++i) sequences.emplace_back(*layout);
  executor.time(&times);
  return {};
}

void BareLayers::State::append(BareSequence& sequence, LayerId layer, uint32_t rows) {
  const uint32_t first = sequence.cache.tokens();
  sequence.cache.append(layer, rows);
  const std::span<const Table> tables = sequence.cache.tables(layer);
  for (size_t t = 0; t < tables.size(); ++t) {
    threads.parallel_for(tables[t].heads().size(), [&](size_t h, int) {
      for (uint32_t i = 0; i < rows; ++i) {
        const uint64_t number = mixed(first + i, tables[t].heads()[h].value * 64 + layer.value);
        sequence.cache.write_entry(layer, t, h, TokenPos(first + i), vectors.at(number), vectors.at(number / kVectors));
      }
    });
  }
}

// Queries of one row: alike within an epoch.
void BareLayers::State::write_queries(size_t sequence, LayerId layer, uint64_t of_epoch, uint64_t noise,
                                      float* to) const {
  const uint32_t dim = options.model.head_dim;
  for (uint32_t head = 0; head < options.model.query_heads; ++head, to += dim) {
    const uint64_t place = (uint64_t{sequence} * 4096 + layer.value) * 4096 + head;
    const float* base = vectors.at(mixed(of_epoch * 2, place));
    const float* other = vectors.at(mixed(noise * 2 + 1, place));
    for (uint32_t d = 0; d < dim; ++d) to[d] = base[d] + kAlikeNoise * other[d];
  }
}

LayerPass BareLayers::State::pass(OpContext& ops, size_t sequence, LayerId layer, Rows queries) const {
  BareSequence& of = sequences[sequence];
  return {.ops = ops,
          .cache = of.cache,
          .state = of.state,
          .facts = of.facts,
          .layer = layer,
          .phase = Phase::kDecode,
          .prompt_ends = false,
          .first_position = of.cache.tokens(),
          .precision = work.precision,
          .queries = queries};
}

// A prompt without reads; its last rows are shown to the methods.
Status BareLayers::State::fill(BareSequence& sequence, size_t number) {
  const ModelShape& model = options.model;
  const uint32_t depth = options.depths[number];
  sequence.facts.prompt_tokens = depth;
  sequence.facts.total_tokens = depth + options.steps;
  stages->narrow(sequence.cache, Phase::kPrefill, sequence.facts);
  const uint32_t shown = std::min(depth, kShownRows);
  OpContext ops{threads, options.isa, *scratch};
  while (sequence.cache.tokens() < depth) {
    const uint32_t left = depth - sequence.cache.tokens();
    const uint32_t rows = left > shown ? std::min(kPromptChunk, left - shown) : left;
    LOCI_CHECK(sequence.cache.reserve(rows));
    std::vector<KeptEntries> edits;
    for (uint32_t l = 0; l < model.layers; ++l) {
      append(sequence, LayerId(l), rows);
      if (rows < left) continue;
      const Workspace::Mark mark(*scratch);
      Rows queries = scratch->rows(rows, model.q_width());
      for (uint32_t r = 0; r < rows; ++r) write_queries(number, LayerId(l), r, r, queries.row(r));
      LayerPass last = pass(ops, number, LayerId(l), queries);
      last.phase = Phase::kPrefill;
      last.prompt_ends = true;
      stages->after_prompt(last, edits);
    }
    sequence.cache.end_pass(rows);
    for (const KeptEntries& kept : edits) LOCI_CHECK(sequence.cache.keep(kept.layer, kept.heads, kept.slots));
    if (rows == left) stages->narrow(sequence.cache, Phase::kDecode, sequence.facts);
    sequence.cache.release_passed();
  }
  return {};
}

void BareLayers::State::run_layer(LayerId layer, BareStep& out) {
  const ModelShape& model = options.model;
  OpContext ops{threads, options.isa, *scratch};
  const Workspace::Mark mark(*scratch);
  const auto count = static_cast<uint32_t>(sequences.size());
  Rows queries = scratch->rows(count, model.q_width()), o = scratch->rows(count, model.q_width());
  const std::span<float> lse =
      stages->mixes(layer) ? scratch->take<float>(size_t{count} * model.query_heads) : std::span<float>();
  double begin = seconds_now();
  for (size_t s = 0; s < count; ++s) {
    write_queries(s, layer, epoch, step, queries.row(s));
    append(sequences[s], layer, 1);
  }
  double end = seconds_now();
  out.append_seconds += end - begin;

  std::vector<std::vector<Selection>> selections(count);
  std::vector<std::vector<ExtraEntry>> extras;
  std::vector<Read> reads;
  std::vector<ExtraEntry> by_head;
  const auto row = [&](const Rows& of, size_t s) { return Rows{of.data + s * of.stride, 1, of.width, of.stride}; };
  begin = end;
  for (size_t s = 0; s < count; ++s) {
    const LayerPass of = pass(ops, s, layer, row(queries, s));
    stages->name_reads(of, selections[s]);
    stages->add_entries(of, by_head);
    const std::span<const Table> tables = sequences[s].cache.tables(layer);
    for (size_t t = 0; t < tables.size(); ++t) {
      reads.push_back({.table = &tables[t],
                       .first_row = static_cast<uint32_t>(s),
                       .rows = 1,
                       .first_position = TokenPos(of.first_position),
                       .slots = sequences[s].cache.pattern(layer, t),
                       .part = PartId(0),
                       .phase = ReadPhase::kDecode,
                       .selection = selections[s][t].tile > 0 ? &selections[s][t] : nullptr});
      extras.emplace_back();
      for (size_t h = 0; h < tables[t].heads().size() && !by_head.empty(); ++h)
        extras.back().push_back(by_head[tables[t].heads()[h].value]);
      out.read_bytes += bytes_read(reads.back());
    }
  }
  for (size_t r = 0; r < reads.size(); ++r) reads[r].extras = extras[r];
  end = seconds_now();
  out.select_seconds += end - begin;

  begin = end;
  executor.run(ops, work, reads, queries, model.score_scale, o, lse);
  end = seconds_now();
  out.read_seconds += end - begin;
  if (lse.empty()) return;

  begin = end;
  for (size_t s = 0; s < count; ++s) {
    const LayerPass of = pass(ops, s, layer, row(queries, s));
    stages->mix(of, row(o, s), lse.subspan(s * model.query_heads, model.query_heads));
  }
  out.select_seconds += seconds_now() - begin;
}

BareLayers::BareLayers(std::unique_ptr<State> state) : state_(std::move(state)) {}
BareLayers::~BareLayers() = default;

Result<std::unique_ptr<BareLayers>> BareLayers::make(const AttentionPlan& plan, const BareLayersOptions& options,
                                                     ThreadPool& pool) {
  LOCI_ASSERT(!options.depths.empty(), "there is a sequence");
  auto state = std::make_unique<State>(options, pool);
  LOCI_CHECK(state->make(plan));
  return std::unique_ptr<BareLayers>(new BareLayers(std::move(state)));
}

Status BareLayers::fill() {
  for (size_t i = 0; i < state_->sequences.size(); ++i) LOCI_CHECK(state_->fill(state_->sequences[i], i));
  return {};
}

Result<BareStep> BareLayers::step() {
  State& s = *state_;
  LOCI_ASSERT(s.step < s.options.steps, "steps are planned beforehand");
  const double drawn = static_cast<double>(mixed(s.step, s.options.seed) >> 11) * 0x1p-53;
  if (s.step == 0 || drawn >= s.options.alike) s.epoch = 1000 + s.step;
  for (BareSequence& sequence : s.sequences) LOCI_CHECK(sequence.cache.reserve(1));
  BareStep out;
  const ThreadPool::Step awake(s.threads);
  for (uint32_t l = 0; l < s.options.model.layers; ++l) s.run_layer(LayerId(l), out);
  for (BareSequence& sequence : s.sequences) {
    sequence.cache.end_pass(1);
    sequence.cache.release_passed();
  }
  ++s.step;
  return out;
}

const ScheduleTimes& BareLayers::times() const { return state_->times; }
uint64_t BareLayers::kv_bytes() const { return state_->pages->counters().bytes_in_use; }
const std::string& BareLayers::made_up() const { return state_->made_up; }

}  // namespace loci
