// Continuous batching: requests come and go between forward passes. A pass takes one row of every sequence that
// generates and fills up to a chunk with rows of prompts, so a long prompt delays the others by one chunk at most.
//
// Who comes first. A tenant's service is the rows that were read and written for it, a written one counting twice. The
// tenant with the least service admits its oldest request and has its prompts read first; among its prompts the one
// with the fewest rows left, where a request that has waited for n passes is ahead by n quarters of a chunk, so none
// starves. A tenant that comes back from idleness begins with no less service than the others that are at work.
//
// Memory. A request is admitted if its prompt and the next steps of all that run fit the cache; what cannot fit alone
// is refused with numbers. When pages run out, the request that came last gives all of its pages back and waits; its
// prompt is read anew and its generated tokens are replayed as decode steps, so its text is the same.
//
// Nothing here looks at a clock: the same calls between the same passes give the same passes and the same texts. One
// thread at a time, the engine's.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/admission.h"
#include "engine/generation.h"

namespace loci {

struct BatchRequest {
  // All answer the first one's prompt, which is read once; only the first holds it. Callbacks come from step().
  std::vector<Request> choices;
  std::shared_ptr<const BoundPlan> plan;  // null: the engine's own
  std::string tenant;                     // in whose name; empty is a tenant too
  std::function<void()> on_admitted = {};
  // If set, nothing of the prompt comes from the prefix cache, and this gets the rows of the prompt that a pass has
  // read, after the last layer and its norm, in order. Who is preempted begins with row 0 again.
  std::function<void(uint32_t first_row, const Rows& states)> on_states = {};
  MemoryWatch memory = {};  // of every choice
  // Once for every choice: its completion, cancelled ones included, or why there is none. Calls no function of the
  // batcher, nor do the others.
  std::function<void(uint32_t choice, Result<Completion> done)> on_done;
};

// What one pass did.
struct StepReport {
  uint32_t decode_rows = 0;
  uint32_t prompt_rows = 0;
  uint32_t admitted = 0;
  uint32_t preempted = 0;
  uint32_t finished = 0;  // choices
};

class Batcher {
 public:
  using Id = uint64_t;

  // The two outlive it.
  Batcher(Core& core, const Tokenizer& tokenizer) : core_(core), tokenizer_(tokenizer) {}
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  // Queues a request; what is wrong with it is told through on_done when it is its turn.
  Id submit(BatchRequest request);
  // Ends a request, which still gets its on_done. False if it is not there (any more).
  bool cancel(Id id);

  bool idle() const { return jobs_.empty() && preempted_.empty() && waiting() == 0; }
  size_t waiting() const { return waiting_; }  // requests that were not admitted yet
  size_t running() const { return jobs_.size(); }
  size_t preempted() const { return preempted_.size(); }
  uint64_t passes() const { return passes_; }

  // Admits what fits and runs one forward pass, if there is anything to run.
  StepReport step();

 private:
  static constexpr uint32_t kHeadroom = 64;  // tokens that running requests may grow by before pages can run out
  static constexpr size_t kMostIdleTenants = 1024;

  struct Entry {
    Id id = 0;
    BatchRequest request;
    uint64_t arrived = 0;  // passes before it
  };
  struct Tenant {
    uint64_t service = 0;
    std::deque<std::shared_ptr<Entry>> waiting;
    uint32_t jobs = 0;  // running or preempted
  };
  struct Job {
    std::shared_ptr<Entry> entry;
    uint32_t choice = 0;
    std::unique_ptr<Sequence> sequence;
    std::unique_ptr<Generation> generation;
    bool forked = false;  // its entry's other choices are on their way
    bool decodes() const { return sequence->cache.tokens() >= generation->prompt_end(); }
  };

  Tenant& tenant_of(const Entry& entry) { return tenants_.at(entry.request.tenant); }
  void forget_idle_tenants();
  bool at_work(const Tenant& tenant) const { return tenant.jobs > 0 || !tenant.waiting.empty(); }

  uint32_t rows_of(const std::shared_ptr<Entry>& entry) const;
  Claim claim(const Job& job, uint32_t headroom) const;
  bool fits_beside_jobs(const Job& job) const;
  void admit(StepReport& report);
  void restart(Job& job);
  bool resume_preempted();
  bool admit_one(StepReport& report);
  void end(Job& job, Result<Completion> done);
  void refuse(const std::shared_ptr<Entry>& entry, const Error& error);

  std::vector<size_t> prompt_order() const;
  void choose_rows(std::vector<Feed>& feeds, std::vector<size_t>& fed, StepReport& report);
  void take(size_t job, std::span<const float> logits);
  void fork_choices(size_t job, std::span<const float> logits);
  void start_forks();
  void preempt_last(StepReport& report);
  void collect(StepReport& report);

  Core& core_;
  const Tokenizer& tokenizer_;
  std::map<std::string, Tenant> tenants_;
  std::vector<Job> jobs_;       // in order of admission
  std::vector<Job> preempted_;  // in order of their entries
  std::vector<Job> forks_;      // made in this pass
  size_t waiting_ = 0;
  bool blocked_ = false;  // nobody can begin before something changes
  Id next_id_ = 1;
  uint64_t passes_ = 0;
};

}  // namespace loci
