#include "engine/batcher.h"

#include <algorithm>
#include <tuple>

#include "base/assert.h"

namespace loci {
namespace {

constexpr uint64_t kDecodeService = 2;  // of a written row; a read one counts 1

Error no_memory() { return Error{ErrorCode::kLimit, "the system has no memory left to keep what was read"}; }
Error cancelled_while_waiting() { return Error{ErrorCode::kCancelled, "the request was cancelled before it began"}; }

}  // namespace

Batcher::Id Batcher::submit(BatchRequest request) {
  LOCI_ASSERT(!request.choices.empty() && request.on_done, "a request has a choice and somebody to tell");
  auto entry = std::make_shared<Entry>();
  entry->id = next_id_++;
  entry->request = std::move(request);
  if (entry->request.plan == nullptr) entry->request.plan = core_.plan();
  entry->arrived = passes_;
  const auto [found, added] = tenants_.try_emplace(entry->request.tenant);
  Tenant& tenant = found->second;
  if (!at_work(tenant)) {
    uint64_t least = UINT64_MAX;
    for (const auto& [name, other] : tenants_) {
      if (at_work(other)) least = std::min(least, other.service);
    }
    if (least != UINT64_MAX) tenant.service = std::max(tenant.service, least);
  }
  tenant.waiting.push_back(entry);
  ++waiting_;
  blocked_ = false;
  if (added) forget_idle_tenants();
  return entry->id;
}

void Batcher::forget_idle_tenants() {
  if (tenants_.size() <= kMostIdleTenants) return;
  std::erase_if(tenants_, [&](const auto& tenant) { return !at_work(tenant.second); });
}

bool Batcher::cancel(Id id) {
  blocked_ = false;
  for (auto& [name, tenant] : tenants_) {
    const auto found = std::find_if(tenant.waiting.begin(), tenant.waiting.end(),
                                    [&](const std::shared_ptr<Entry>& entry) { return entry->id == id; });
    if (found == tenant.waiting.end()) continue;
    const std::shared_ptr<Entry> entry = *found;
    tenant.waiting.erase(found);
    --waiting_;
    refuse(entry, cancelled_while_waiting());
    return true;
  }
  bool known = false;
  for (std::vector<Job>* list : {&jobs_, &preempted_}) {
    for (size_t i = 0; i < list->size();) {
      if ((*list)[i].entry->id != id) {
        ++i;
        continue;
      }
      known = true;
      Job job = std::move((*list)[i]);
      list->erase(list->begin() + static_cast<std::ptrdiff_t>(i));
      job.generation->cancel();
      const std::shared_ptr<Entry> entry = job.entry;
      const bool alone = !job.forked && job.choice == 0;
      end(job, job.generation->complete());
      // Choices that were to be forked from it do not come.
      for (uint32_t c = 1; alone && c < entry->request.choices.size(); ++c) {
        entry->request.on_done(c, cancelled_while_waiting());
      }
    }
  }
  return known;
}

void Batcher::refuse(const std::shared_ptr<Entry>& entry, const Error& error) {
  for (uint32_t c = 0; c < entry->request.choices.size(); ++c) entry->request.on_done(c, error);
}

void Batcher::end(Job& job, Result<Completion> done) {
  --tenant_of(*job.entry).jobs;
  job.entry->request.on_done(job.choice, std::move(done));
}

// Sequences that the entry will have at once.
uint32_t Batcher::rows_of(const std::shared_ptr<Entry>& entry) const {
  return static_cast<uint32_t>(entry->request.choices.size());
}

// What the job is counted with when others are admitted: its prompt and its next `headroom` tokens.
Claim Batcher::claim(const Job& job, uint32_t headroom) const {
  const Generation& generation = *job.generation;
  const uint64_t near = job.sequence->tokens.size() + headroom;
  return {job.sequence.get(), generation.prompt_end(),
          static_cast<uint32_t>(std::min<uint64_t>(near, generation.most_fed()))};
}

bool Batcher::fits_beside_jobs(const Job& job) const {
  std::vector<Claim> claims = {claim(job, kHeadroom)};
  for (const Job& other : jobs_) claims.push_back(claim(other, kHeadroom));
  return fits(core_, claims).ok();
}

bool Batcher::resume_preempted() {
  if (preempted_.empty()) return true;
  Job& job = preempted_.front();
  if (jobs_.size() >= core_.layout().batch || (!jobs_.empty() && !fits_beside_jobs(job))) return false;
  restart(job);
  jobs_.push_back(std::move(job));
  preempted_.erase(preempted_.begin());
  std::stable_sort(jobs_.begin(), jobs_.end(), [](const Job& a, const Job& b) { return a.entry->id < b.entry->id; });
  return true;
}

void Batcher::restart(Job& job) { job.generation->restart(core_, job.entry->request.on_states == nullptr); }

// False: nobody else can begin in this pass.
bool Batcher::admit_one(StepReport& report) {
  Tenant* first = nullptr;
  for (auto& [name, tenant] : tenants_) {
    if (tenant.waiting.empty()) continue;
    if (first == nullptr || tenant.service < first->service) first = &tenant;
  }
  if (first == nullptr) return false;
  const std::shared_ptr<Entry> entry = first->waiting.front();
  const auto leave_queue = [&] {
    first->waiting.pop_front();
    --waiting_;
  };
  if (rows_of(entry) > core_.layout().batch) {
    leave_queue();
    refuse(entry, fail(ErrorCode::kLimit, "{} choices were asked for, but {} sequences run at once; ask for fewer",
                       rows_of(entry), core_.layout().batch));
    return true;
  }
  // Choices that are still to be forked take their places now.
  size_t places = rows_of(entry);
  for (const Job& job : jobs_) places += job.forked || job.choice > 0 ? 1 : rows_of(job.entry);
  if (places > core_.layout().batch) return false;

  Job job;
  job.entry = entry;
  job.sequence = std::make_unique<Sequence>(entry->request.plan);
  const bool adopt = entry->request.on_states == nullptr;
  Result<Generation> begun = Generation::begin(core_, tokenizer_, entry->request.choices[0], *job.sequence, adopt);
  if (!begun.ok()) {
    leave_queue();
    refuse(entry, begun.error());
    return true;
  }
  job.generation = std::make_unique<Generation>(std::move(*begun));
  job.forked = rows_of(entry) == 1;
  if (!fits_beside_jobs(job)) {
    std::vector<Claim> leaving;
    for (const Job& other : jobs_) leaving.push_back(claim(other, 0));
    const Claim whole{job.sequence.get(), job.generation->prompt_end(), job.generation->most_fed()};
    const Status alone = fits(core_, std::span(&whole, 1), leaving);
    if (alone.ok()) return false;
    leave_queue();
    refuse(entry, alone.error());
    return true;
  }
  leave_queue();
  ++first->jobs;
  ++report.admitted;
  jobs_.push_back(std::move(job));
  if (entry->request.on_admitted) entry->request.on_admitted();
  return true;
}

void Batcher::admit(StepReport& report) {
  if (blocked_) return;
  // Who had begun comes before who has not.
  while (!preempted_.empty()) {
    if (!resume_preempted()) {
      blocked_ = true;
      return;
    }
  }
  while (jobs_.size() < core_.layout().batch && admit_one(report)) {
  }
  blocked_ = true;
}

// Jobs that read a prompt, whose turn it is first.
std::vector<size_t> Batcher::prompt_order() const {
  struct Key {
    uint64_t service;
    uint64_t rank;
    size_t job;
    bool operator<(const Key& other) const {
      return std::tie(service, rank, job) < std::tie(other.service, other.rank, other.job);
    }
  };
  std::vector<Key> keys;
  for (size_t i = 0; i < jobs_.size(); ++i) {
    const Job& job = jobs_[i];
    if (job.decodes()) continue;
    const uint64_t left = job.generation->prompt_end() - job.sequence->cache.tokens();
    keys.push_back({tenants_.at(job.entry->request.tenant).service,
                    left + job.entry->arrived * std::max(1u, core_.layout().chunk / 4), i});
  }
  std::sort(keys.begin(), keys.end());
  std::vector<size_t> order;
  for (const Key& key : keys) order.push_back(key.job);
  return order;
}

// All decode steps, then prompts of one plan, as far as the chunk goes that both share: who writes waits for no more
// than a chunk takes. Prompts get half of it at least, and one cell whatever it holds.
void Batcher::choose_rows(std::vector<Feed>& feeds, std::vector<size_t>& fed, StepReport& report) {
  feeds.clear();
  fed.clear();
  report.decode_rows = report.prompt_rows = 0;
  const auto feed = [&](size_t i, uint32_t rows) {
    Sequence& sequence = *jobs_[i].sequence;
    const auto& on_states = jobs_[i].entry->request.on_states;
    feeds.push_back({.sequence = &sequence,
                     .tokens = rows,
                     .logits = rows == sequence.unfed() ? Feed::Logits::kLast : Feed::Logits::kNone,
                     .on_states = jobs_[i].decodes() || !on_states ? nullptr : &on_states});
    fed.push_back(i);
  };
  for (size_t i = 0; i < jobs_.size(); ++i) {
    if (!jobs_[i].decodes()) continue;
    feed(i, 1);
    ++report.decode_rows;
  }
  const BoundPlan* plan = nullptr;
  for (const size_t i : prompt_order()) {
    const Sequence& sequence = *jobs_[i].sequence;
    if (plan != nullptr && sequence.plan.get() != plan) continue;
    const uint32_t steps = std::min(report.decode_rows, sequence.plan->layout.chunking.chunk / 2);
    uint32_t rows = sequence.next_rows(steps + report.prompt_rows);
    if (rows == 0 && report.prompt_rows == 0) rows = sequence.next_rows(0);
    if (rows == 0) continue;
    plan = sequence.plan.get();
    feed(i, rows);
    report.prompt_rows += rows;
  }
}

void Batcher::fork_choices(size_t index, std::span<const float> logits) {
  Job& origin = jobs_[index];
  origin.forked = true;
  BatchRequest& request = origin.entry->request;
  for (uint32_t c = 1; c < request.choices.size(); ++c) {
    Job job;
    job.entry = origin.entry;
    job.choice = c;
    job.forked = true;
    job.sequence = std::make_unique<Sequence>(origin.sequence->fork());
    Result<Generation> begun = Generation::fork(*origin.generation, request.choices[c], *job.sequence);
    ++tenant_of(*job.entry).jobs;
    if (!begun.ok()) {
      end(job, begun.error());
      continue;
    }
    job.generation = std::make_unique<Generation>(std::move(*begun));
    const Status taken = job.generation->take(logits);
    if (!taken.ok()) job.generation->fail_with(taken.error());
    forks_.push_back(std::move(job));
  }
}

// What fails at one job's logits is that job's error, not its neighbours'.
void Batcher::take(size_t index, std::span<const float> logits) {
  if (!jobs_[index].forked) fork_choices(index, logits);
  Generation& generation = *jobs_[index].generation;
  const Status taken = generation.take(logits);
  if (!taken.ok()) generation.fail_with(taken.error());
}

// Behind their origins, so that the order of jobs stays that of their entries.
void Batcher::start_forks() {
  for (Job& job : forks_) jobs_.push_back(std::move(job));
  forks_.clear();
  std::stable_sort(jobs_.begin(), jobs_.end(), [](const Job& a, const Job& b) { return a.entry->id < b.entry->id; });
}

// The youngest waits until something has changed: who came back at once would be read anew and fail again.
void Batcher::preempt_last(StepReport& report) {
  ++report.preempted;
  blocked_ = true;
  Job job = std::move(jobs_.back());
  jobs_.pop_back();
  job.sequence->clear();
  const auto before = [](const Job& a, const Job& b) { return a.entry->id < b.entry->id; };
  preempted_.insert(std::lower_bound(preempted_.begin(), preempted_.end(), job, before), std::move(job));
}

// Jobs that have ended.
void Batcher::collect(StepReport& report) {
  for (size_t i = 0; i < jobs_.size();) {
    Generation& generation = *jobs_[i].generation;
    if (!generation.error() && !generation.done()) {
      ++i;
      continue;
    }
    Job job = std::move(jobs_[i]);
    jobs_.erase(jobs_.begin() + static_cast<std::ptrdiff_t>(i));
    ++report.finished;
    blocked_ = false;
    if (job.generation->error()) {
      end(job, *job.generation->error());
    } else {
      end(job, job.generation->complete());
    }
  }
}

StepReport Batcher::step() {
  StepReport report;
  admit(report);
  std::vector<Feed> feeds;
  std::vector<size_t> fed;
  while (!jobs_.empty()) {
    choose_rows(feeds, fed, report);
    const auto on_logits = [&](size_t index, uint32_t, const Rows& logits) -> Status {
      take(fed[index], logits.span(0));
      return {};
    };
    const auto choose = [&](size_t index, const Rows& logits) { jobs_[fed[index]].generation->choose(logits.span(0)); };
    const Status done = core_.forward(feeds, {}, on_logits, choose);
    if (done.ok()) {
      ++passes_;
      for (size_t i = 0; i < fed.size(); ++i) {
        const Job& job = jobs_[fed[i]];
        if (job.sequence->cache.tokens() == 0) {
          job.generation->fail_with(no_memory());
          continue;
        }
        if (job.sequence->cache.tokens() == job.generation->prompt_end())
          blocked_ = false;  // it may have given pages back
        tenant_of(*job.entry).service +=
            job.sequence->cache.tokens() > job.generation->prompt_end() ? kDecodeService : uint64_t{feeds[i].tokens};
        jobs_[fed[i]].generation->passed();
        jobs_[fed[i]].generation->show_memory(job.entry->request.memory, job.choice);
      }
      start_forks();
      break;
    }
    if (done.error().code == ErrorCode::kLimit && jobs_.size() > 1) {
      preempt_last(report);
      continue;
    }
    for (Job& job : jobs_) job.generation->fail_with(done.error());
    break;
  }
  collect(report);
  return report;
}

}  // namespace loci
