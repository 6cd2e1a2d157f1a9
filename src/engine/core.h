// A loaded model with its cache and its workers: runs forward passes over any mix of sequences.
//
// One thread at a time. Sequences must not outlive it.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "attention/executor.h"
#include "engine/memory_plan.h"
#include "engine/prefix_store.h"
#include "engine/sequence.h"
#include "model/model.h"

namespace loci {

// Tokens of one sequence for one forward pass.
struct Feed {
  enum class Logits { kNone, kLast, kAll };

  Sequence* sequence = nullptr;
  uint32_t tokens = 0;  // the next of sequence->tokens that have not been fed
  Logits logits = Logits::kNone;
  // Gets all rows of the feed after the last layer and its norm, with the position of the first; null: nobody does.
  const std::function<void(uint32_t first_row, const Rows& states)>* on_states = nullptr;
};

class Core {
 public:
  // Rows [first_row, first_row + logits.rows) of feed `feed` have these logits, valid during the call.
  using OnLogits = std::function<Status(size_t feed, uint32_t first_row, const Rows& logits)>;
  // The same rows before that, of several feeds at the same time, on any worker.
  using Prepare = std::function<void(size_t feed, const Rows& logits)>;
  using Cancelled = std::function<bool()>;

  // `file` is only read here.
  static Result<std::unique_ptr<Core>> load(const ModelFile& file, const EngineOptions& options);

  // Feeds all sequences in one pass and hands out the logits asked for. kCancelled (looked at between layers) and
  // kLimit (the cache is full) leave every sequence as it was. A sequence for whose compaction the system has less
  // memory than the cache was promised is cleared, and gets no logits.
  Status forward(std::span<const Feed> feeds, const Cancelled& cancelled, const OnLogits& on_logits,
                 const Prepare& prepare = {});

  // `listener`, which outlives this or is taken back with null, looks at the reads of all passes.
  void watch(ReadListener* listener) { listener_ = listener; }
  // From now on `tap` is called in every pass; null: nobody is. It outlives the passes.
  void listen(Tap* tap) { tap_ = tap; }

  // Makes a plan beside the engine's own, or finds it made. kInvalidArgument or kNotFound if it is none or not of this
  // model; kLimit if its scratch or its methods' state do not fit the memory limit.
  Result<std::shared_ptr<const BoundPlan>> bind(const std::string& attention);
  // The engine's own.
  const std::shared_ptr<const BoundPlan>& plan() const { return plan_; }

  Sequence new_sequence() const { return Sequence(plan_); }
  // Before the first pass over tokens that were added to a sequence: up to `facts.prompt_tokens` they are a prompt,
  // what follows are decode steps.
  void begin_prompt(Sequence& sequence, RequestFacts facts);
  // Takes pages for `table`; where the pool is full, the prefix cache gives up what it alone holds.
  Status reserve(Table& table, uint32_t entries);
  // Lets a sequence of which nothing has been fed begin with what the prefix cache holds of its prompt. Returns the
  // number of tokens taken.
  uint32_t adopt_prefix(Sequence& sequence);
  // From now on what the prefix cache remembers is kept on disk too, and comes back from there. kUnsupported without a
  // prefix cache.
  Status keep_snapshots(SnapshotOptions options);
  // To be called between passes, and while there are none: writes go on. False: there is nothing to do now.
  bool tend_snapshots() { return snapshots_ != nullptr && snapshots_->tend(*prefix_); }
  const Snapshots* snapshots() const { return snapshots_.get(); }

  const Model& model() const { return model_; }
  const EngineLayout& layout() const { return layout_; }
  // Of the engine's own plan.
  const Stages& stages() const { return *plan_->layout.stages; }
  const CacheLayout& cache_layout() const { return plan_->cache; }
  const std::string& fingerprint() const { return fingerprint_; }
  const PrefixStore* prefix_store() const { return prefix_.get(); }
  PagePool& pages() { return *pages_; }
  const PagePool& pages() const { return *pages_; }
  Isa isa() const { return isa_; }
  const ReadWork& read_work() const { return executor_.work(); }
  const AttentionSeconds& attention_seconds() const { return attention_seconds_; }
  ThreadPool& threads() { return *threads_; }

 private:
  static constexpr size_t kMostPlans = 64;  // made at once; those that no sequence uses give way

  Core(Model model, EngineLayout layout, std::unique_ptr<ThreadPool> threads, Workspace scratch, Isa isa);
  Status make_room(const PlanLayout& plan);
  Status grow_scratch(uint64_t bytes);
  Status evicting(const std::function<Status()>& allocate);
  Status reserve(std::span<const Feed> feeds);
  void abandon(std::span<const Feed> feeds);
  void bring_back(const Sequence& sequence);
  Status bring_back_block(const Sequence& sequence, const PrefixSeed& seed, const SessionReader& reader,
                          uint32_t block);
  Status hold_back(std::span<const Feed> feeds);
  void end_pass(std::span<const Feed> feeds, std::span<const BatchItem> items, const Batch& batch);
  void hand_out_states(OpContext& ops, std::span<const Feed> feeds, const Rows& x);
  Status run_layers(Batch& batch, Rows x, const Cancelled& cancelled);
  Status hand_out_logits(OpContext& ops, std::span<const Feed> feeds, const Rows& x, const OnLogits& on_logits,
                         const Prepare& prepare);

  Model model_;
  EngineLayout layout_;
  std::unique_ptr<ThreadPool> threads_;
  Workspace scratch_;
  Isa isa_;
  std::string fingerprint_;
  Executor executor_;
  ReadListener* listener_ = nullptr;
  AttentionSeconds attention_seconds_;  // of all passes
  std::unique_ptr<PagePool> pages_;
  std::shared_ptr<const BoundPlan> plan_;
  std::map<std::string, std::shared_ptr<const BoundPlan>> plans_;  // by canonical form
  std::unique_ptr<PrefixStore> prefix_;
  std::unique_ptr<Snapshots> snapshots_;
  Tap* tap_ = nullptr;
};

}  // namespace loci
