// The thread that owns the engine: takes requests in, runs one forward pass after the other, hands tokens out.
//
// Others submit and cancel from any thread; callbacks of requests come in the engine's thread and must be quick. The
// number of requests that wait is limited; a request whose deadline passes is cancelled between two passes. The thread
// sleeps while there is nothing to do.
//
// Answers may be read while nobody waits (Options::read_answers): entries made in decode steps equal a prompt's to
// rounding only and are not shared, so the last answer is fed once more, as a prompt, and the next turn of its
// conversation finds all of it in the prefix cache. Whoever comes meanwhile ends that before the next pass; what was
// read stays.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/batcher.h"
#include "engine/loaded_model.h"

namespace loci {

// Who listens to the passes: metrics and traces. In the engine's thread.
class LoopListener {
 public:
  using Clock = std::chrono::steady_clock;
  struct Pass {
    StepReport report;
    Clock::time_point begin;
    Clock::time_point end;
    size_t running = 0;
    size_t waiting = 0;
    PoolCounters pages;
    PrefixStats prefix;
    size_t prefix_blocks = 0;
    uint64_t prefix_pages = 0;
    SnapshotStats snapshots;
  };
  virtual ~LoopListener() = default;
  virtual void on_pass(const Pass& pass) = 0;
};

// What goes into the batcher, and when: the same log makes the same passes and the same texts.
class ArrivalLog {
 public:
  virtual ~ArrivalLog() = default;
  virtual void on_submit(uint64_t pass, uint64_t id, const BatchRequest& request, const std::string& attention) = 0;
  virtual void on_cancel(uint64_t pass, uint64_t id) = 0;
  virtual void on_pass(const StepReport& report) = 0;
  virtual void on_done(uint64_t id, uint32_t choice, const Result<Completion>& done) = 0;
};

// Why a request ends before its time.
enum class CancelCause {
  kClient,    // who asked wants no more of it
  kDeadline,  // its time is over
  kShutdown
};

class EngineLoop {
 public:
  using Clock = std::chrono::steady_clock;
  using Ticket = uint64_t;

  struct Options {
    size_t most_waiting = 256;         // requests; more are turned away
    bool read_answers = false;         // of conversations, while there is nothing else to do
    LoopListener* listener = nullptr;  // outlives the loop; may be null
    std::unique_ptr<ArrivalLog> log;   // may be null; not with read_answers, of which it knows nothing
  };
  struct Submission {
    BatchRequest request;       // without a plan
    std::string attention;      // empty: the engine's own
    bool conversation = false;  // whose next prompt is likely to begin with this one and its answer
    Clock::time_point deadline = Clock::time_point::max();
    std::function<void(CancelCause)> on_cancel = {};  // before the on_done of what is cancelled
  };

  // The loop owns the model's cache and threads from now on; its tokenizer and template may be read by anybody.
  EngineLoop(LoadedModel model, Options options);
  // Cancels what is left.
  ~EngineLoop();

  const LoadedModel& model() const { return model_; }

  // All or none. kLimit if too many would wait, kInvalidArgument if more come at once than may ever wait, kCancelled
  // after stop(); every other error comes through on_done.
  Result<std::vector<Ticket>> submit(std::vector<Submission> submissions);
  void cancel(Ticket ticket);
  // Seconds after which a place in the queue may be free, at the present pace; at least 1.
  uint32_t retry_after_seconds() const;

  size_t waiting() const;
  size_t open() const;  // requests that have not ended
  // Nothing is taken in any more and everything ends as cancelled. Returns when the thread has ended.
  void stop();

 private:
  struct Live {
    Batcher::Id id = 0;
    Clock::time_point deadline;
    uint32_t choices = 0;
    std::function<void(CancelCause)> on_cancel;
  };

  // A prompt with its answer, to be read.
  struct Unread {
    Request request;
    std::string attention;
  };
  struct Reading {
    Batcher::Id id = 0;
    Unread what;
  };

  void run();
  // In the engine's thread.
  void take_in();
  void begin(Ticket ticket, Submission submission);
  void note_unread(Unread unread, const Completion& done);
  void begin_reading();
  void end_reading();
  void cancel_live(Ticket ticket, CancelCause cause);
  void cancel_late();
  void pass();
  void finish_snapshots();

  LoadedModel model_;
  Options options_;
  Batcher batcher_;
  // Of the engine's thread.
  std::map<Ticket, Live> live_;
  std::deque<Unread> unread_;  // the last to come is read first
  std::optional<Reading> reading_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::pair<Ticket, Submission>> inbox_;
  std::deque<Ticket> cancellations_;
  size_t waiting_ = 0;              // submitted and not admitted
  size_t open_ = 0;                 // submitted and not ended
  double seconds_per_request_ = 1;  // between two ends, smoothed
  Clock::time_point last_end_;
  Ticket next_ticket_ = 1;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace loci
