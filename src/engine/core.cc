#include "engine/core.h"

#include <algorithm>
#include <cstring>

#include "engine/admission.h"
#include "engine/fingerprint.h"

namespace loci {

Result<std::unique_ptr<Core>> Core::load(const ModelFile& file, const EngineOptions& options) {
  LOCI_TRY(const Isa isa, parse_isa(options.isa));
  if (options.threads < 0 || options.threads > 1024) {
    return fail(ErrorCode::kInvalidArgument, "{} threads were asked for, but the number must lie in 0..1024",
                options.threads);
  }
  auto threads = std::make_unique<ThreadPool>(options.threads);
  LOCI_TRY(const Activations activations, parse_activations(options.activations));
  LOCI_TRY(const ModelMeasure measure, Model::measure(file, activations));
  std::string fingerprint = model_fingerprint(file);
  LOCI_TRY(EngineLayout layout, lay_out(measure, fingerprint, options, threads->size()));
  const MemoryPlan& memory = layout.memory;
  if (!memory.fits) {
    const auto mib = [](uint64_t bytes) { return static_cast<double>(bytes) / 0x1p20; };
    return fail(ErrorCode::kLimit,
                "the model needs {:.1f} MiB ({:.1f} weights, {:.1f} cache for {} x {} tokens, {:.1f} scratch), but "
                "{:.1f} MiB are "
                "available; lower the context or the batch, or use a smaller store (store=kv8, store=kv4)",
                mib(memory.total_bytes), mib(memory.weights_bytes), mib(memory.kv_bytes), layout.batch, layout.context,
                mib(memory.scratch_bytes), mib(memory.available_bytes));
  }
  LOCI_TRY(Model model, Model::load(file, activations, *threads, options.on_load));
  LOCI_TRY(Workspace scratch, Workspace::allocate(memory.scratch_bytes));
  auto core =
      std::unique_ptr<Core>(new Core(std::move(model), std::move(layout), std::move(threads), std::move(scratch), isa));
  core->fingerprint_ = std::move(fingerprint);
  if (options.prefix_cache) {
    LOCI_TRY(core->prefix_, PrefixStore::make(*core->pages_, core->fingerprint_));
  }
  return core;
}

Core::Core(Model model, EngineLayout layout, std::unique_ptr<ThreadPool> threads, Workspace scratch, Isa isa)
    : model_(std::move(model)),
      layout_(std::move(layout)),
      threads_(std::move(threads)),
      scratch_(std::move(scratch)),
      isa_(isa),
      pages_(std::make_unique<PagePool>(layout_.memory.kv_bytes + layout_.fork_bytes)),
      plan_(std::make_shared<const BoundPlan>(layout_, *pages_)) {
  plans_[plan_->canonical] = plan_;
}

// Scratch for passes in which the plan takes part: one plan's prompts and decode steps of any plans.
Status Core::make_room(const PlanLayout& plan) {
  const uint32_t rows = std::max(layout_.pass_rows, plan.chunking.most_rows() + layout_.batch);
  const uint64_t prompt = std::max(layout_.prompt_scratch_bytes, plan.prompt_scratch_bytes);
  const uint64_t step = std::max(layout_.step_scratch_bytes, plan.step_scratch_bytes);
  const uint64_t state = std::max(layout_.state_bytes, plan.state_bytes);
  const bool mixes = layout_.mixes || plan.mixes;
  const uint64_t scratch =
      pass_scratch_bytes(model_.config(), layout_, rows, prompt + layout_.batch * step, mixes) + layout_.fork_bytes;
  MemoryPlan memory = layout_.memory;
  memory.scratch_bytes = std::max(memory.scratch_bytes, scratch);
  memory.state_bytes = layout_.batch * state;
  memory.total_bytes = memory.weights_bytes + memory.kv_bytes + memory.state_bytes + memory.scratch_bytes;
  if (memory.total_bytes > memory.available_bytes) {
    const auto mib = [](uint64_t bytes) { return static_cast<double>(bytes) / 0x1p20; };
    return fail(
        ErrorCode::kLimit,
        "passes under this plan need {:.1f} MiB of scratch and state, which makes {:.1f} MiB in all, but {:.1f} "
        "MiB are available; lower the batch or the context, or choose methods with smaller cells",
        mib(memory.scratch_bytes + memory.state_bytes), mib(memory.total_bytes), mib(memory.available_bytes));
  }
  if (memory.scratch_bytes > scratch_.capacity()) LOCI_CHECK(grow_scratch(memory.scratch_bytes));
  layout_.pass_rows = rows;
  layout_.prompt_scratch_bytes = prompt;
  layout_.step_scratch_bytes = step;
  layout_.state_bytes = state;
  layout_.mixes = mixes;
  layout_.memory = memory;
  return {};
}

// The old scratch goes first, so that the two are never there together.
Status Core::grow_scratch(uint64_t bytes) {
  const size_t before = scratch_.capacity();
  LOCI_TRY(scratch_, Workspace::allocate(0));
  Result<Workspace> grown = Workspace::allocate(bytes);
  if (grown.ok()) {
    scratch_ = std::move(*grown);
    return {};
  }
  Result<Workspace> again = Workspace::allocate(before);
  LOCI_ASSERT(again.ok(), "what was given back a moment ago can be had again");
  scratch_ = std::move(*again);
  return grown.error();
}

Result<std::shared_ptr<const BoundPlan>> Core::bind(const std::string& attention) {
  LOCI_TRY(const AttentionPlan parsed, AttentionPlan::parse_for_model(attention, model_.config().default_store));
  const auto found = plans_.find(parsed.canonical());
  if (found != plans_.end()) return found->second;
  LOCI_TRY(PlanLayout made,
           lay_out_plan(model_.config(), fingerprint_, attention, layout_.context, layout_.chunk, layout_.threads));
  if (plans_.size() >= kMostPlans) {
    std::erase_if(plans_, [&](const auto& entry) { return entry.second != plan_ && entry.second.use_count() == 1; });
  }
  if (plans_.size() >= kMostPlans) {
    return fail(ErrorCode::kLimit, "{} attention plans are in use, at most {} may be; use one of them", plans_.size(),
                kMostPlans);
  }
  LOCI_CHECK(make_room(made));
  auto plan = std::make_shared<const BoundPlan>(std::move(made), *pages_);
  plans_[plan->canonical] = plan;
  return plan;
}

void Core::begin_prompt(Sequence& sequence, RequestFacts facts) {
  sequence.facts = std::move(facts);
  sequence.decode_from = sequence.facts.prompt_tokens;
  sequence.plan->layout.stages->narrow(sequence.cache, Phase::kPrefill, sequence.facts);
}

uint32_t Core::adopt_prefix(Sequence& sequence) {
  if (prefix_ == nullptr || sequence.cache.tokens() > 0) return 0;
  if (snapshots_ != nullptr) bring_back(sequence);
  return prefix_->adopt(sequence);
}

Status Core::keep_snapshots(SnapshotOptions options) {
  if (prefix_ == nullptr) return fail(ErrorCode::kUnsupported, "snapshots are of the prefix cache, which is off");
  LOCI_TRY(snapshots_, Snapshots::open(std::move(options), fingerprint_));
  return {};
}

// From disk into the prefix cache: what of the prompt is there and not here, as far as there is room.
void Core::bring_back(const Sequence& sequence) {
  const PrefixSeed seed = prefix_->seed_of(sequence);
  const std::span<const TokenId> tokens = PrefixStore::shared_tokens(sequence);
  for (uint32_t block = prefix_->known(seed, tokens);;) {
    const std::optional<Snapshots::Found> found = snapshots_->find(seed, tokens, block);
    if (!found) return;
    const uint32_t first = block;
    for (; block < found->end; ++block) {
      const Status brought = bring_back_block(sequence, seed, found->reader, block);
      if (brought.ok()) continue;
      if (brought.error().code == ErrorCode::kCorrupt) snapshots_->refuse(seed, tokens, block, brought.error());
      return;
    }
    snapshots_->count_read(block - first);
  }
}

Status Core::bring_back_block(const Sequence& sequence, const PrefixSeed& seed, const SessionReader& reader,
                              uint32_t block) {
  const CacheLayout& layout = sequence.plan->cache;
  std::vector<StripeShape> shapes;
  std::vector<std::pair<PageGroup, std::vector<PageId>>> stripes;
  for (uint32_t i = 0; i < layout.layers(); ++i) {
    const LayerId layer(i);
    for (size_t c = 0; c < layout.shape(layer).classes.size(); ++c) {
      shapes.push_back({&layout.page(layer), static_cast<uint32_t>(layout.shape(layer).classes[c].size())});
      stripes.push_back({layout.group(layer, c), {}});
    }
  }
  LOCI_TRY(const BlockView view, read_block(reader, block, shapes));
  const std::byte* from = view.pages.data();
  for (size_t s = 0; s < stripes.size(); ++s) {
    auto& [group, pages] = stripes[s];
    if (view.stripes[s] == 0) continue;
    const Status taken =
        evicting([&, to = group, into = &pages] { return pages_->allocate(to, view.stripes[s], *into); });
    if (!taken.ok()) {
      for (const auto& [of, some] : stripes) {
        for (const PageId page : some) pages_->release(of, page);
      }
      return taken;
    }
    for (const PageId page : pages) {
      std::memcpy(pages_->data(group, page), from, pages_->page_bytes(group));
      from += pages_->page_bytes(group);
    }
  }
  if (prefix_->put(seed, PrefixStore::shared_tokens(sequence), block, std::move(stripes))) return {};
  return fail(ErrorCode::kLimit, "block {} came back when those before it had left", block);
}

// Pages that only the prefix cache holds are the first to go when the pool runs out.
Status Core::evicting(const std::function<Status()>& allocate) {
  for (;;) {
    Status done = allocate();
    if (done.ok() || done.error().code != ErrorCode::kLimit) return done;
    if (prefix_ == nullptr || !prefix_->evict_one()) return done;
  }
}

Status Core::reserve(Table& table, uint32_t entries) {
  return evicting([&] { return table.reserve(entries); });
}

Status Core::reserve(std::span<const Feed> feeds) {
  for (const Feed& feed : feeds) LOCI_CHECK(evicting([&] { return feed.sequence->cache.reserve(feed.tokens); }));
  return {};
}

// Leaves the pages free that compacting will take when prompts end in this pass: then it is too late to give up.
Status Core::hold_back(std::span<const Feed> feeds) {
  std::vector<Claim> ending;
  for (const Feed& feed : feeds) {
    const uint32_t end = feed.sequence->decode_from;
    if (feed.sequence->cache.tokens() + feed.tokens == end) ending.push_back({feed.sequence, end, end});
  }
  if (ending.empty()) return {};
  const uint64_t needed = compaction_bytes(*this, ending);
  return evicting([&]() -> Status {
    if (pages_->bytes_in_use() + needed <= pages_->budget_bytes()) return {};
    return fail(ErrorCode::kLimit, "{} bytes of cache are needed to compact what was read, but {} of {} are in use",
                needed, pages_->bytes_in_use(), pages_->budget_bytes());
  });
}

void Core::abandon(std::span<const Feed> feeds) {
  for (const Feed& feed : feeds) {
    feed.sequence->cache.abandon_pass();
    feed.sequence->state.trim(feed.sequence->cache.tokens());
  }
}

// What the prompts that ended keep is decided; prefixes are shared before anything is taken out.
void Core::end_pass(std::span<const Feed> feeds, std::span<const BatchItem> items, const Batch& batch) {
  for (size_t i = 0; i < feeds.size(); ++i) {
    Sequence& sequence = *feeds[i].sequence;
    sequence.cache.end_pass(feeds[i].tokens);
    if (prefix_ != nullptr) prefix_->remember(sequence);
    if (items[i].prompt_ends && snapshots_ != nullptr) {
      const auto remembered = sequence.tokens.begin() + std::ptrdiff_t{kPageSlots} * sequence.remembered_blocks;
      snapshots_->note(prefix_->seed_of(sequence), {sequence.tokens.begin(), remembered});
    }
    if (items[i].prompt_ends) {
      Status compacted;
      for (const KeptEntries& kept : batch.edits()[i]) {
        if (compacted.ok())
          compacted = evicting([&] { return sequence.cache.keep(kept.layer, kept.heads, kept.slots); });
      }
      // Pages were held back for it, so it is the system that has none. The others of the pass go on.
      if (!compacted.ok()) {
        sequence.clear();
        continue;
      }
      sequence.plan->layout.stages->narrow(sequence.cache, Phase::kDecode, sequence.facts);
    }
    sequence.cache.release_passed();
  }
}

Status Core::run_layers(Batch& batch, Rows x, const Cancelled& cancelled) {
  for (const std::unique_ptr<Layer>& layer : model_.layers()) {
    if (cancelled && cancelled()) return fail(ErrorCode::kCancelled, "the request was cancelled");
    layer->forward(batch, x);
  }
  return {};
}

Status Core::forward(std::span<const Feed> feeds, const Cancelled& cancelled, const OnLogits& on_logits,
                     const Prepare& prepare) {
  uint32_t rows = 0;
  std::vector<BatchItem> items;
  std::vector<TokenId> ids;
  for (const Feed& feed : feeds) {
    SequenceCache& cache = feed.sequence->cache;
    LOCI_ASSERT(feed.tokens > 0 && feed.tokens <= feed.sequence->unfed(), "a feed takes tokens that the sequence has");
    const bool decode = feed.tokens == 1 && cache.tokens() >= feed.sequence->decode_from;
    items.push_back({.stages = feed.sequence->plan->layout.stages.get(),
                     .cache = &cache,
                     .state = &feed.sequence->state,
                     .facts = &feed.sequence->facts,
                     .first_row = rows,
                     .rows = feed.tokens,
                     .first_position = TokenPos(cache.tokens()),
                     .phase = decode ? Phase::kDecode : Phase::kPrefill,
                     .prompt_ends = cache.tokens() + feed.tokens == feed.sequence->decode_from});
    const auto first = feed.sequence->tokens.begin() + cache.tokens();
    ids.insert(ids.end(), first, first + feed.tokens);
    rows += feed.tokens;
  }
  LOCI_ASSERT(rows <= layout_.pass_rows, "a pass has as many rows as were planned");
  Status reserved = reserve(feeds);
  if (reserved.ok()) reserved = hold_back(feeds);
  if (!reserved.ok()) {  // the others' new pages go back
    abandon(feeds);
    return reserved;
  }

  const ThreadPool::Step step(*threads_);
  const Workspace::Mark mark(scratch_);
  OpContext ops{*threads_, isa_, scratch_};
  Rows x = scratch_.rows(rows, model_.config().hidden);
  model_.embed(ops, ids, x);
  {
    const Workspace::Mark layers(scratch_);
    Batch batch(ops, model_.config(), executor_, layout_.work, items, tap_);
    batch.watch(listener_);
    const Status done = run_layers(batch, x, cancelled);
    attention_seconds_.select += batch.attention_seconds().select;
    attention_seconds_.read += batch.attention_seconds().read;
    if (!done.ok()) {
      abandon(feeds);
      return done;
    }
    end_pass(feeds, items, batch);
  }
  hand_out_states(ops, feeds, x);
  return hand_out_logits(ops, feeds, x, on_logits, prepare);
}

void Core::hand_out_states(OpContext& ops, std::span<const Feed> feeds, const Rows& x) {
  uint32_t row = 0;
  for (const Feed& feed : feeds) {
    const bool wanted = feed.on_states != nullptr && feed.sequence->cache.tokens() > 0;
    const uint32_t before = wanted ? feed.sequence->cache.tokens() - feed.tokens : 0;
    for (uint32_t begin = 0; wanted && begin < feed.tokens; begin += layout_.logit_rows) {
      const uint32_t count = std::min(layout_.logit_rows, feed.tokens - begin);
      const Workspace::Mark mark(scratch_);
      Rows states = scratch_.rows(count, x.width);
      model_.states(ops, {x.data + size_t{row + begin} * x.stride, count, x.width, x.stride}, states);
      (*feed.on_states)(before + begin, states);
    }
    row += feed.tokens;
  }
}

Status Core::hand_out_logits(OpContext& ops, std::span<const Feed> feeds, const Rows& x, const OnLogits& on_logits,
                             const Prepare& prepare) {
  struct Wanted {
    size_t feed;
    uint32_t row_of_feed;
    uint32_t row;
  };
  std::vector<Wanted> wanted;
  uint32_t row = 0;
  for (size_t f = 0; f < feeds.size(); row += feeds[f].tokens, ++f) {
    if (feeds[f].logits == Feed::Logits::kNone || feeds[f].sequence->cache.tokens() == 0) continue;
    const uint32_t first = feeds[f].logits == Feed::Logits::kAll ? 0 : feeds[f].tokens - 1;
    for (uint32_t i = first; i < feeds[f].tokens; ++i) wanted.push_back({f, i, row + i});
  }
  for (size_t begin = 0; begin < wanted.size(); begin += layout_.logit_rows) {
    const size_t count = std::min<size_t>(layout_.logit_rows, wanted.size() - begin);
    const Workspace::Mark mark(scratch_);
    Rows gathered = scratch_.rows(count, x.width);
    for (size_t i = 0; i < count; ++i)
      std::memcpy(gathered.row(i), x.row(wanted[begin + i].row), x.width * sizeof(float));
    Rows logits = scratch_.rows(count, model_.config().vocabulary);
    model_.logits(ops, gathered, logits);
    // Rows of one feed go out together: from its first on.
    const auto feed_of = [&](size_t i) { return wanted[begin + i].feed; };
    const auto part = [&](size_t first) {
      size_t end = first + 1;
      while (end < count && feed_of(end) == feed_of(first)) ++end;
      return Rows{logits.row(first), static_cast<uint32_t>(end - first), logits.width, logits.stride};
    };
    if (prepare) {
      ops.pool.parallel_for(count, [&](size_t i, int) {
        if (i == 0 || feed_of(i - 1) != feed_of(i)) prepare(feed_of(i), part(i));
      });
    }
    for (size_t i = 0; i < count;) {
      const Rows rows = part(i);
      LOCI_CHECK(on_logits(feed_of(i), wanted[begin + i].row_of_feed, rows));
      i += rows.rows;
    }
  }
  return {};
}

}  // namespace loci
