#include "serve/engine_loop.h"

#include <algorithm>
#include <cmath>

namespace loci {
namespace {

constexpr size_t kMostUnread = 16;                  // answers
constexpr std::string_view kReader = "the reader";  // names of keys have no space: what is read ahead counts for nobody

}  // namespace

EngineLoop::EngineLoop(LoadedModel model, Options options)
    : model_(std::move(model)),
      options_(std::move(options)),
      batcher_(*model_.core, *model_.tokenizer),
      last_end_(Clock::now()),
      thread_([this] { run(); }) {}

EngineLoop::~EngineLoop() { stop(); }

void EngineLoop::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Result<std::vector<EngineLoop::Ticket>> EngineLoop::submit(std::vector<Submission> submissions) {
  std::vector<Ticket> tickets;
  {
    const std::lock_guard lock(mutex_);
    if (stop_) return fail(ErrorCode::kCancelled, "the server is shutting down");
    if (submissions.size() > options_.most_waiting) {
      return fail(ErrorCode::kInvalidArgument, "{} prompts were sent at once, but only {} may wait; send fewer",
                  submissions.size(), options_.most_waiting);
    }
    if (waiting_ + submissions.size() > options_.most_waiting) {
      return fail(ErrorCode::kLimit, "{} requests are waiting, of {} that may; try again later", waiting_,
                  options_.most_waiting);
    }
    waiting_ += submissions.size();
    open_ += submissions.size();
    for (Submission& submission : submissions) {
      tickets.push_back(next_ticket_++);
      inbox_.emplace_back(tickets.back(), std::move(submission));
    }
  }
  wake_.notify_one();
  return tickets;
}

void EngineLoop::cancel(Ticket ticket) {
  {
    const std::lock_guard lock(mutex_);
    cancellations_.push_back(ticket);
  }
  wake_.notify_one();
}

uint32_t EngineLoop::retry_after_seconds() const {
  const std::lock_guard lock(mutex_);
  return static_cast<uint32_t>(std::clamp(std::ceil(seconds_per_request_), 1.0, 60.0));
}

size_t EngineLoop::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_;
}

size_t EngineLoop::open() const {
  const std::lock_guard lock(mutex_);
  return open_;
}

void EngineLoop::begin(Ticket ticket, Submission submission) {
  BatchRequest& request = submission.request;
  const std::string& own = model_.core->plan()->canonical;
  const std::string& attention = submission.attention.empty() ? own : submission.attention;
  const auto choices = static_cast<uint32_t>(request.choices.size());
  const auto left_queue = std::make_shared<bool>(false);
  // The counts that others see follow the request from here on.
  const auto leave_queue = [this, left_queue] {
    if (*left_queue) return;
    *left_queue = true;
    const std::lock_guard lock(mutex_);
    --waiting_;
  };
  request.on_admitted = [leave_queue, told = std::move(request.on_admitted)] {
    leave_queue();
    if (told) told();
  };
  std::shared_ptr<Unread> unread;
  if (options_.read_answers && submission.conversation && choices == 1) {
    const Request& asked = request.choices.front();
    unread = std::make_shared<Unread>();
    unread->attention = attention;
    unread->request = {.prompt = asked.prompt, .spans = asked.spans, .salt = asked.salt, .task = asked.task};
  }
  request.on_done = [this, ticket, leave_queue, unread, told = std::move(request.on_done)](uint32_t choice,
                                                                                           Result<Completion> done) {
    if (unread != nullptr && done.ok() && done->finish != Finish::kCancelled) note_unread(std::move(*unread), *done);
    const auto found = live_.find(ticket);
    if (found != live_.end() && --found->second.choices == 0) {
      live_.erase(found);
      leave_queue();
      const std::lock_guard lock(mutex_);
      --open_;
      const Clock::time_point now = Clock::now();
      seconds_per_request_ += 0.1 * (std::chrono::duration<double>(now - last_end_).count() - seconds_per_request_);
      last_end_ = now;
    }
    if (options_.log != nullptr) options_.log->on_done(ticket, choice, done);
    told(choice, std::move(done));
  };
  live_[ticket] = {
      .id = 0, .deadline = submission.deadline, .choices = choices, .on_cancel = std::move(submission.on_cancel)};
  if (options_.log != nullptr) options_.log->on_submit(batcher_.passes(), ticket, request, attention);
  Result<std::shared_ptr<const BoundPlan>> plan = model_.core->bind(attention);
  if (!plan.ok()) {
    const auto done = request.on_done;
    for (uint32_t c = 0; c < choices; ++c) done(c, plan.error());
    return;
  }
  request.plan = std::move(*plan);
  live_[ticket].id = batcher_.submit(std::move(request));
}

// Only what fills another block can be shared.
void EngineLoop::note_unread(Unread unread, const Completion& done) {
  std::vector<TokenId>& tokens = unread.request.prompt;
  const size_t blocks = tokens.size() / kPrefixBlock;
  tokens.insert(tokens.end(), done.tokens.begin(), done.tokens.end());
  tokens.resize(std::min<size_t>(tokens.size(), model_.info.context - 1));
  if (tokens.size() / kPrefixBlock == blocks) return;
  unread_.push_back(std::move(unread));
  if (unread_.size() > kMostUnread) unread_.pop_front();
}

void EngineLoop::begin_reading() {
  Reading& reading = reading_.emplace();
  reading.what = std::move(unread_.back());
  unread_.pop_back();
  BatchRequest request;
  request.tenant = kReader;
  request.choices.push_back(reading.what.request);
  request.choices.front().max_new_tokens = 1;
  request.on_done = [this](uint32_t, const Result<Completion>&) { reading_.reset(); };
  Result<std::shared_ptr<const BoundPlan>> plan = model_.core->bind(reading.what.attention);
  if (!plan.ok()) {
    reading_.reset();
    return;
  }
  request.plan = std::move(*plan);
  reading.id = batcher_.submit(std::move(request));
}

// What is not read yet is read another time.
void EngineLoop::end_reading() {
  if (!reading_) return;
  unread_.push_back(std::move(reading_->what));
  batcher_.cancel(reading_->id);
}

void EngineLoop::cancel_live(Ticket ticket, CancelCause cause) {
  const auto found = live_.find(ticket);
  if (found == live_.end()) return;
  if (options_.log != nullptr) options_.log->on_cancel(batcher_.passes(), ticket);
  if (found->second.on_cancel) found->second.on_cancel(cause);
  batcher_.cancel(found->second.id);
}

void EngineLoop::cancel_late() {
  const Clock::time_point now = Clock::now();
  std::vector<Ticket> late;
  for (const auto& [ticket, live] : live_) {
    if (live.deadline <= now) late.push_back(ticket);
  }
  for (const Ticket ticket : late) cancel_live(ticket, CancelCause::kDeadline);
}

// What others left since the last pass.
void EngineLoop::take_in() {
  std::deque<std::pair<Ticket, Submission>> submissions;
  std::deque<Ticket> cancellations;
  {
    const std::lock_guard lock(mutex_);
    submissions.swap(inbox_);
    cancellations.swap(cancellations_);
  }
  if (!submissions.empty()) end_reading();
  for (auto& [ticket, submission] : submissions) begin(ticket, std::move(submission));
  for (const Ticket ticket : cancellations) cancel_live(ticket, CancelCause::kClient);
  cancel_late();
}

void EngineLoop::pass() {
  LoopListener::Pass pass;
  pass.begin = Clock::now();
  const uint64_t before = batcher_.passes();
  pass.report = batcher_.step();
  if (options_.log != nullptr && batcher_.passes() > before) options_.log->on_pass(pass.report);
  if (options_.listener == nullptr) return;
  pass.end = Clock::now();
  pass.running = batcher_.running();
  pass.waiting = batcher_.waiting();
  pass.pages = model_.core->pages().counters();
  if (const PrefixStore* prefix = model_.core->prefix_store()) {
    pass.prefix = prefix->stats();
    pass.prefix_blocks = prefix->blocks();
    pass.prefix_pages = prefix->pages();
  }
  if (const Snapshots* snapshots = model_.core->snapshots()) pass.snapshots = snapshots->stats();
  options_.listener->on_pass(pass);
}

void EngineLoop::run() {
  constexpr std::chrono::milliseconds kTend{5};  // while snapshots are written and nothing else is done
  for (;;) {
    const bool tending = model_.core->tend_snapshots();
    {
      std::unique_lock lock(mutex_);
      const auto called = [&] { return stop_ || !inbox_.empty() || !cancellations_.empty(); };
      if (!batcher_.idle() || !unread_.empty()) {
        // There is something to do.
      } else if (tending) {
        wake_.wait_for(lock, kTend, called);
      } else {
        wake_.wait(lock, called);
      }
      if (stop_) break;
    }
    take_in();
    if (batcher_.idle() && !unread_.empty()) begin_reading();
    pass();
  }
  take_in();
  end_reading();
  while (!live_.empty()) {
    const Ticket ticket = live_.begin()->first;
    cancel_live(ticket, CancelCause::kShutdown);
    live_.erase(ticket);
  }
  finish_snapshots();
}

// What is noted is written, as far as the time for it goes.
void EngineLoop::finish_snapshots() {
  constexpr std::chrono::seconds kMost{10};
  const Clock::time_point end = Clock::now() + kMost;
  while (model_.core->tend_snapshots() && Clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

}  // namespace loci
