// One attention layer with its cache and a plan's stages, fed with made-up q, k and v: what a model's layer does,
// without a model. For tests of methods.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "attention/executor.h"
#include "attention/plan/plan.h"
#include "attention/stages/stages.h"
#include "io/profile.h"

namespace loci::test {

inline constexpr double kRopeBase = 1000;

struct OneLayerShape {
  uint32_t query_heads = 4;
  uint32_t kv_heads = 2;
  uint32_t head_dim = 32;
  uint32_t context = 4096;
  uint32_t window = 0;        // of the model's own
  uint32_t most_rows = 1024;  // of a pass
  int threads = 2;
  ReadPrecision precision = ReadPrecision::kFp32;
  Isa isa = best_isa();
  RopePairing pairing = RopePairing::kHalves;  // for methods that turn keys on
};

// q [rows, query_heads * head_dim], k and v [rows, kv_heads * head_dim], row by row.
struct Rows3 {
  std::vector<float> q, k, v;
};

class OneLayer {
 public:
  OneLayer(const std::string& plan, OneLayerShape shape = {}, Profile profile = {})
      : shape_(shape), pool_(uint64_t{1} << 30), threads_(shape.threads), profile_(std::move(profile)) {
    Result<AttentionPlan> parsed = AttentionPlan::parse(plan);
    EXPECT_TRUE(parsed.ok()) << parsed.error().message;
    plan_ = std::move(*parsed);
    model_ = {.layers = 1,
              .query_heads = shape.query_heads,
              .kv_heads = shape.kv_heads,
              .head_dim = shape.head_dim,
              .score_scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim)),
              .windows = {shape.window},
              .fingerprint = "one layer",
              .rotary = {.pairing = shape.pairing, .inverse_frequencies = {}}};
    for (uint32_t i = 0; i < shape.head_dim / 2; ++i)
      model_.rotary.inverse_frequencies.push_back(std::pow(kRopeBase, -2.0 * i / shape.head_dim));
    const MethodContext context{
        .model = model_, .context = shape.context, .profile = [this](std::string_view, const std::string&) {
          return Result<Profile>(profile_);
        }};
    Result<Stages> stages = Stages::make(plan_, model_, context);
    EXPECT_TRUE(stages.ok()) << stages.error().message;
    stages_ = std::make_unique<Stages>(std::move(*stages));
    layout_ = std::make_unique<CacheLayout>(std::vector<LayerShape>{{.kv_heads = shape.kv_heads,
                                                                     .head_dim = shape.head_dim,
                                                                     .codec = plan_.codec(LayerId(0)),
                                                                     .window = shape.window,
                                                                     .classes = stages_->classes(LayerId(0))}},
                                            pool_);
    work_ = Executor::plan({.rows = shape.most_rows,
                            .reads = 1,
                            .slots = shape.context,
                            .query_heads = shape.query_heads,
                            .kv_heads = shape.kv_heads,
                            .head_dim = shape.head_dim,
                            .precision = shape.precision},
                           shape.threads);
    // Exactly what is planned, so a method that takes more than it says asserts.
    const uint64_t bytes =
        work_.scratch_bytes +
        stages_->scratch_bytes({.rows = shape.most_rows, .tokens = shape.context, .threads = shape.threads});
    scratch_ = std::make_unique<Workspace>(std::move(*Workspace::allocate(bytes)));
    clear();
  }

  void clear() {
    cache_ = std::make_unique<SequenceCache>(*layout_);
    state_.clear();
  }

  // Declares a prompt that ends when the sequence has `prompt` tokens.
  void begin_prompt(uint32_t prompt, uint32_t total = 0) {
    facts_.prompt_tokens = prompt;
    facts_.total_tokens = total == 0 ? shape_.context : total;
    stages_->narrow(*cache_, Phase::kPrefill, facts_);
  }

  // One pass over `rows` rows of x from row `first` on. Returns o [rows, query_heads * head_dim]. Single rows behind
  // the prompt are decode steps.
  std::vector<float> pass(const Rows3& x, uint32_t first, uint32_t rows) {
    const uint32_t begin = cache_->tokens();
    const bool decode = rows == 1 && begin >= facts_.prompt_tokens;
    const size_t kv_width = size_t{shape_.kv_heads} * shape_.head_dim;
    EXPECT_TRUE(cache_->reserve(rows).ok());
    cache_->append(LayerId(0), rows);
    for (size_t t = 0; t < cache_->tables(LayerId(0)).size(); ++t) {
      const std::span<const KvHead> heads = cache_->tables(LayerId(0))[t].heads();
      for (uint32_t i = 0; i < rows; ++i) {
        for (size_t h = 0; h < heads.size(); ++h) {
          const size_t at = (first + i) * kv_width + size_t{heads[h].value} * shape_.head_dim;
          cache_->write_entry(LayerId(0), t, h, TokenPos(begin + i), &x.k[at], &x.v[at]);
        }
      }
    }
    OpContext ops{threads_, shape_.isa, *scratch_};
    std::vector<float> q(x.q.begin() + static_cast<ptrdiff_t>(size_t{first} * model_.q_width()),
                         x.q.begin() + static_cast<ptrdiff_t>(size_t{first + rows} * model_.q_width()));
    std::vector<float> o(q.size());
    const Rows queries{q.data(), rows, model_.q_width(), model_.q_width()};
    const Rows out{o.data(), rows, model_.q_width(), model_.q_width()};
    const LayerPass of{.ops = ops,
                       .cache = *cache_,
                       .state = state_,
                       .facts = facts_,
                       .layer = LayerId(0),
                       .phase = decode ? Phase::kDecode : Phase::kPrefill,
                       .prompt_ends = begin + rows == facts_.prompt_tokens,
                       .first_position = begin,
                       .queries = queries};
    std::vector<KeptEntries> edits;
    {
      const Workspace::Mark mark(*scratch_);
      stages_->name_reads(of, selections_);
      std::vector<ExtraEntry> by_head;
      stages_->add_entries(of, by_head);
      std::vector<std::vector<ExtraEntry>> extras;
      std::vector<Read> reads;
      for (size_t t = 0; t < cache_->tables(LayerId(0)).size(); ++t) {
        const Table& table = cache_->tables(LayerId(0))[t];
        reads.push_back(read(t, decode, begin, rows, selections_[t].tile > 0 ? &selections_[t] : nullptr));
        extras.emplace_back();
        for (size_t h = 0; h < table.heads().size() && !by_head.empty(); ++h)
          extras.back().push_back(by_head[table.heads()[h].value]);
      }
      for (size_t r = 0; r < reads.size(); ++r) reads[r].extras = extras[r];
      std::vector<float> lse(stages_->mixes(LayerId(0)) ? size_t{rows} * shape_.query_heads : 0);
      executor_.run(ops, work_, reads, queries, model_.score_scale, out, lse);
      stages_->mix(of, out, lse);
      stages_->after_prompt(of, edits);
    }
    cache_->end_pass(rows);
    if (of.prompt_ends) {
      for (const KeptEntries& kept : edits) EXPECT_TRUE(cache_->keep(kept.layer, kept.heads, kept.slots).ok());
      stages_->narrow(*cache_, Phase::kDecode, facts_);
    }
    cache_->release_passed();
    return o;
  }

  // The prompt in chunks of at most `chunk` rows, then single rows for the rest of x. o of all rows.
  std::vector<float> feed(const Rows3& x, uint32_t prompt, uint32_t chunk) {
    begin_prompt(prompt);
    std::vector<float> all;
    const auto rows = static_cast<uint32_t>(x.q.size() / model_.q_width());
    for (uint32_t first = 0; first < rows;) {
      const uint32_t count = first < prompt ? std::min(chunk, prompt - first) : 1;
      const std::vector<float> o = pass(x, first, count);
      all.insert(all.end(), o.begin(), o.end());
      first += count;
    }
    return all;
  }

  Rows3 random_rows(uint32_t rows, uint32_t seed, float q_spread = 2) const {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, 1);
    Rows3 x;
    for (size_t i = 0; i < size_t{rows} * model_.q_width(); ++i) x.q.push_back(q_spread * normal(random));
    for (size_t i = 0; i < size_t{rows} * shape_.kv_heads * shape_.head_dim; ++i) {
      x.k.push_back(normal(random));
      x.v.push_back(normal(random));
    }
    return x;
  }

  const ModelShape& model() const { return model_; }
  const Stages& stages() const { return *stages_; }
  const SequenceCache& cache() const { return *cache_; }
  SequenceCache& cache() { return *cache_; }
  SequenceState& state() { return state_; }
  PagePool& pool() { return pool_; }
  // Of the last pass, by table; tile == 0: read as a whole. Lists and masks are scratch: look at what a method chose
  // through its results.
  const std::vector<Selection>& selections() const { return selections_; }

 private:
  Read read(size_t table, bool decode, uint32_t begin, uint32_t rows, const Selection* selection) const {
    return {.table = &cache_->tables(LayerId(0))[table],
            .first_row = 0,
            .rows = rows,
            .first_position = TokenPos(begin),
            .slots = cache_->pattern(LayerId(0), table),
            .part = PartId(0),
            .phase = decode ? ReadPhase::kDecode : ReadPhase::kPrompt,
            .selection = selection};
  }

  OneLayerShape shape_;
  PagePool pool_;
  ThreadPool threads_;
  Profile profile_;
  AttentionPlan plan_;
  ModelShape model_;
  std::unique_ptr<Stages> stages_;
  std::unique_ptr<CacheLayout> layout_;
  WorkPlan work_;
  std::unique_ptr<Workspace> scratch_;
  std::unique_ptr<SequenceCache> cache_;
  SequenceState state_;
  RequestFacts facts_;
  Executor executor_;
  std::vector<Selection> selections_;
};

// Which entries a row of a head reads, and with which log-weight; minus infinity: not.
using EntryWeight = std::function<float(uint32_t row, uint32_t query_head, uint32_t entry)>;

// Attention in double with explicit masks, over all rows of x.
inline std::vector<float> masked_attention(const Rows3& x, const ModelShape& model, const EntryWeight& weight) {
  const size_t q_width = model.q_width(), kv_width = size_t{model.kv_heads} * model.head_dim;
  const auto rows = static_cast<uint32_t>(x.q.size() / q_width);
  std::vector<float> out(x.q.size());
  for (uint32_t r = 0; r < rows; ++r) {
    for (uint32_t h = 0; h < model.query_heads; ++h) {
      const float* q = &x.q[r * q_width + size_t{h} * model.head_dim];
      const size_t column = size_t{h / model.group()} * model.head_dim;
      std::vector<double> o(model.head_dim, 0.0);
      double sum = 0;
      for (uint32_t j = 0; j <= r; ++j) {
        const float w = weight(r, h, j);
        if (std::isinf(w)) continue;
        double score = 0;
        for (uint32_t d = 0; d < model.head_dim; ++d) score += double{q[d]} * x.k[j * kv_width + column + d];
        const double p = std::exp(score * model.score_scale + w);
        sum += p;
        for (uint32_t d = 0; d < model.head_dim; ++d) o[d] += p * x.v[j * kv_width + column + d];
      }
      for (uint32_t d = 0; d < model.head_dim; ++d)
        out[r * q_width + size_t{h} * model.head_dim + d] = static_cast<float>(sum > 0 ? o[d] / sum : 0.0);
    }
  }
  return out;
}

inline double largest_difference(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double most = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) most = std::max(most, std::abs(double{a[i]} - b[i]));
  return most;
}

}  // namespace loci::test
