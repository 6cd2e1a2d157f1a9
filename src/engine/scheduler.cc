#include "engine/scheduler.h"

#include <algorithm>

namespace loci {

// Adds a job, or says that the request must wait for others to end.
Status Scheduler::admit(const Request& request, size_t index, std::vector<Job>& jobs, bool& waits) {
  waits = jobs.size() >= core_.layout().batch;
  if (waits) return {};
  Job job;
  job.index = index;
  job.owned = std::make_unique<Sequence>(core_.new_sequence());
  LOCI_TRY(Generation generation, Generation::begin(core_, tokenizer_, request, *job.owned));
  job.generation = std::make_unique<Generation>(std::move(generation));
  std::vector<Claim> claims = {job.claim()};
  for (const Job& other : jobs) claims.push_back(other.claim());
  if (!fits(core_, claims).ok()) {
    const std::span<const Claim> all(claims);
    LOCI_CHECK(fits(core_, all.first(1), all.subspan(1)));
    LOCI_ASSERT(!jobs.empty(), "what fits beside nobody can begin");
    waits = true;
    return {};
  }
  jobs.push_back(std::move(job));
  return {};
}

// One forward pass over all jobs: decode steps first, then prompt chunks while rows are left.
Status Scheduler::pass(std::span<Job> jobs) {
  std::vector<Feed> feeds;
  std::vector<Generation*> fed;
  uint32_t rows = 0;
  const auto feed = [&](Job& job, uint32_t tokens) {
    Generation& generation = *job.generation;
    const bool last = tokens == generation.unfed();
    feeds.push_back({&generation.sequence(), tokens, last ? Feed::Logits::kLast : Feed::Logits::kNone});
    fed.push_back(&generation);
    rows += tokens;
  };
  for (Job& job : jobs) {
    if (job.generation->unfed() == 1 && rows < core_.layout().pass_rows) feed(job, 1);
  }
  uint32_t prompt_rows = 0;
  for (Job& job : jobs) {
    if (job.generation->unfed() <= 1) continue;
    const uint32_t taken = job.generation->sequence().plan->layout.chunking.rows(
        job.generation->sequence().cache.tokens(), job.generation->unfed(), prompt_rows);
    if (taken == 0) continue;
    prompt_rows += taken;
    feed(job, taken);
  }
  const auto all_cancelled = [&] {
    return std::all_of(fed.begin(), fed.end(), [](Generation* g) { return g->cancelled(); });
  };
  // What fails at one job's logits is that job's error, not its neighbours'.
  const auto take = [&](size_t index, uint32_t, const Rows& logits) -> Status {
    const Status taken = fed[index]->take(logits.span(0));
    if (!taken.ok()) fed[index]->fail_with(taken.error());
    return {};
  };
  const auto choose = [&](size_t index, const Rows& logits) { fed[index]->choose(logits.span(0)); };
  const Status done = core_.forward(feeds, all_cancelled, take, choose);
  if (!done.ok() && done.error().code != ErrorCode::kCancelled) return done;
  for (Generation* generation : fed) {
    if (done.ok() && generation->sequence().cache.tokens() == 0)
      generation->fail_with(Error{ErrorCode::kLimit, "the system has no memory left to keep what was read"});
    generation->passed();
    if (generation->cancelled() && !generation->done()) generation->cancel();
  }
  return {};
}

std::vector<Result<Completion>> Scheduler::run(std::span<const Request> requests) {
  std::vector<Result<Completion>> results(requests.size(), Result<Completion>(Error{ErrorCode::kInternal, "not run"}));
  std::vector<Job> jobs;
  size_t next = 0;
  bool waits = false;  // until a job ends
  while (next < requests.size() || !jobs.empty()) {
    while (next < requests.size() && !waits) {
      const Status admitted = admit(requests[next], next, jobs, waits);
      if (!admitted.ok()) results[next] = admitted.error();
      if (!waits) ++next;
    }
    if (jobs.empty()) continue;
    const Status passed = pass(jobs);
    if (!passed.ok() && passed.error().code == ErrorCode::kLimit && jobs.size() > 1) {
      // The system has less memory left than the cache was promised: the youngest gives way.
      results[jobs.back().index] = passed.error();
      jobs.pop_back();
      waits = false;
      continue;
    }
    for (size_t i = 0; i < jobs.size();) {
      if (!passed.ok()) {
        results[jobs[i].index] = passed.error();
      } else if (jobs[i].generation->error()) {
        results[jobs[i].index] = *jobs[i].generation->error();
      } else if (jobs[i].generation->done()) {
        results[jobs[i].index] = jobs[i].generation->complete();
      } else {
        ++i;
        continue;
      }
      jobs.erase(jobs.begin() + static_cast<ptrdiff_t>(i));
      waits = false;
    }
  }
  return results;
}

Result<Completion> Scheduler::run(const Request& request, Sequence& sequence) {
  LOCI_TRY(Generation generation, Generation::begin(core_, tokenizer_, request, sequence));
  std::vector<Job> jobs(1);
  jobs[0].generation = std::make_unique<Generation>(std::move(generation));
  const Claim claim = jobs[0].claim();
  const Status fitting = fits(core_, std::span(&claim, 1));
  if (!fitting.ok()) {
    jobs[0].generation->withdraw();
    return fitting.error();
  }
  while (!jobs[0].generation->done()) {
    Status passed = pass(jobs);
    if (passed.ok() && jobs[0].generation->error()) passed = *jobs[0].generation->error();
    if (!passed.ok()) {
      // The sequence keeps what was fed before the error.
      sequence.tokens.resize(sequence.cache.tokens());
      sequence.prompt_tokens =
          std::min<uint32_t>(sequence.prompt_tokens, static_cast<uint32_t>(sequence.tokens.size()));
      return passed.error();
    }
  }
  return jobs[0].generation->complete();
}

}  // namespace loci
