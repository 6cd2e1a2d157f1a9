#include "serve/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>

namespace loci {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;

double seconds(std::chrono::steady_clock::duration d) { return std::chrono::duration<double>(d).count(); }

const Histogram::BucketBoundaries kLatencies = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120};
const Histogram::BucketBoundaries kStepTimes = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5};
const Histogram::BucketBoundaries kRows = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096};

}  // namespace

struct Metrics::State {
  prometheus::Registry registry;

  Counter& counter(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
  }
  Gauge& gauge(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
  }
  Histogram& histogram(const char* name, const char* help, const Histogram::BucketBoundaries& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
  }

  prometheus::Family<Counter>& replies =
      prometheus::BuildCounter().Name("loci_http_replies_total").Help("Answers by route and status").Register(registry);
  prometheus::Family<Counter>& refusals = prometheus::BuildCounter()
                                              .Name("loci_refusals_total")
                                              .Help("Requests turned away before the engine saw them, by cause")
                                              .Register(registry);
  Gauge& running = gauge("loci_sequences_running", "Sequences that take part in passes");
  Gauge& waiting = gauge("loci_requests_waiting", "Requests that were not admitted yet");
  Counter& preemptions = counter("loci_preemptions_total", "Sequences that gave their pages back and began anew");
  Counter& passes = counter("loci_passes_total", "Forward passes");
  Counter& prompt_rows = counter("loci_prompt_tokens_read_total", "Prompt tokens that passes have read");
  Counter& decode_rows = counter("loci_decode_steps_total", "Decode steps, one for each sequence of a pass");
  Histogram& pass_rows = histogram("loci_pass_rows", "Rows of a pass", kRows);
  Histogram& pass_seconds = histogram("loci_pass_seconds", "Time of a pass", kStepTimes);
  Gauge& pages_in_use = gauge("loci_kv_pages_in_use", "Pages that sequences or the prefix cache hold");
  Gauge& pages_shared = gauge("loci_kv_pages_shared", "Pages with more than one holder");
  Counter& pages_released =
      counter("loci_kv_pages_released_total", "Pages given back: evicted, or of sequences that ended");
  Gauge& kv_bytes = gauge("loci_kv_bytes_in_use", "Bytes of pages in use");
  Gauge& kv_budget = gauge("loci_kv_bytes_budget", "Bytes that pages may use");
  Gauge& prefix_blocks = gauge("loci_prefix_blocks", "Blocks of 64 tokens that the prefix cache holds");
  Gauge& prefix_pages = gauge("loci_prefix_pages", "Pages that the prefix cache holds");
  Counter& prefix_hits = counter("loci_prefix_hits_total", "Prompts that began with what the prefix cache held");
  Counter& prefix_lookups = counter("loci_prefix_lookups_total", "Prompts that were looked up in the prefix cache");
  Gauge& snapshot_bytes = gauge("loci_snapshot_bytes", "Bytes of snapshots on disk");
  Counter& snapshot_blocks_written =
      counter("loci_snapshot_blocks_written_total", "Blocks of 64 tokens written to disk");
  Counter& snapshot_blocks_read = counter("loci_snapshot_blocks_read_total", "Blocks of 64 tokens that came from disk");
  Counter& snapshots_damaged = counter("loci_snapshots_damaged_total", "Snapshots that were damaged, and removed");
  Counter& snapshot_failures = counter("loci_snapshot_failures_total", "Snapshots that could not be written");
  Counter& prompt_tokens =
      counter("loci_prompt_tokens_total", "Tokens of prompts that were read, or came from the prefix cache");
  Counter& cached_tokens = counter("loci_cached_tokens_total", "Of these, tokens that came from the prefix cache");
  Counter& completion_tokens = counter("loci_completion_tokens_total", "Tokens that were generated");
  Counter& kept_tokens = counter("loci_kept_tokens_total", "Entries per KV head at the ends of answers, summed");
  Histogram& queue_seconds = histogram("loci_queue_seconds", "Time from a request to its admission", kLatencies);
  Histogram& first_token_seconds =
      histogram("loci_time_to_first_token_seconds", "Time from a request to its first text", kLatencies);
  Histogram& token_seconds =
      histogram("loci_time_per_output_token_seconds", "Mean time between the tokens of an answer", kStepTimes);
  Gauge& connections = gauge("loci_http_connections", "Open connections");
  Counter& accepted = counter("loci_http_connections_accepted_total", "Connections accepted");
  Counter& turned_away = counter("loci_http_connections_turned_away_total", "Connections beyond the limit");
  Counter& timeouts = counter("loci_http_timeouts_total", "Connections that ran out of time");
  Counter& slow_readers = counter("loci_http_slow_readers_total", "Connections closed for not taking their answers");

  // Counted by nobody, since there is nothing to count: what has no kernel is refused when its plan is made, and no
  // operation has a second path. It stands here for those who watch it.
  State() {
    counter("loci_fallbacks_total", "Operations that ran on another path than planned: there is no such path");
  }
};

Metrics::Metrics() : state_(std::make_unique<State>()) {}
Metrics::~Metrics() = default;

namespace {

// Brings a counter of ours to a total that is counted elsewhere.
void raise(Counter& counter, uint64_t total) {
  counter.Increment(std::max(0.0, static_cast<double>(total) - counter.Value()));
}

}  // namespace

void Metrics::on_pass(const Pass& pass) {
  State& s = *state_;
  s.running.Set(static_cast<double>(pass.running));
  s.waiting.Set(static_cast<double>(pass.waiting));
  s.preemptions.Increment(pass.report.preempted);
  const uint32_t rows = pass.report.prompt_rows + pass.report.decode_rows;
  if (rows > 0) {
    s.passes.Increment();
    s.prompt_rows.Increment(pass.report.prompt_rows);
    s.decode_rows.Increment(pass.report.decode_rows);
    s.pass_rows.Observe(rows);
    s.pass_seconds.Observe(seconds(pass.end - pass.begin));
  }
  s.pages_in_use.Set(static_cast<double>(pass.pages.pages_in_use));
  s.pages_shared.Set(static_cast<double>(pass.pages.pages_shared));
  raise(s.pages_released, pass.pages.pages_released);
  s.kv_bytes.Set(static_cast<double>(pass.pages.bytes_in_use));
  s.kv_budget.Set(static_cast<double>(pass.pages.budget_bytes));
  s.prefix_blocks.Set(static_cast<double>(pass.prefix_blocks));
  s.prefix_pages.Set(static_cast<double>(pass.prefix_pages));
  raise(s.prefix_hits, pass.prefix.hits);
  raise(s.prefix_lookups, pass.prefix.lookups);
  s.snapshot_bytes.Set(static_cast<double>(pass.snapshots.bytes));
  raise(s.snapshot_blocks_written, pass.snapshots.blocks_written);
  raise(s.snapshot_blocks_read, pass.snapshots.blocks_read);
  raise(s.snapshots_damaged, pass.snapshots.damaged);
  raise(s.snapshot_failures, pass.snapshots.failures);
}

void Metrics::on_answer(const AnswerSummary& answer) {
  State& s = *state_;
  s.prompt_tokens.Increment(static_cast<double>(answer.prompt_tokens));
  s.cached_tokens.Increment(static_cast<double>(answer.cached_tokens));
  s.completion_tokens.Increment(static_cast<double>(answer.completion_tokens));
  s.kept_tokens.Increment(static_cast<double>(answer.kept_tokens));
  if (answer.status != 200) return;
  s.queue_seconds.Observe(seconds(answer.admitted - answer.begun));
  if (answer.first_text == AnswerSummary::Clock::time_point()) return;  // no text was asked for
  s.first_token_seconds.Observe(seconds(answer.first_text - answer.begun));
  if (answer.completion_tokens > 1) {
    s.token_seconds.Observe(seconds(answer.ended - answer.first_text) /
                            static_cast<double>(answer.completion_tokens - 1));
  }
}

void Metrics::on_reply(std::string_view route, int status) {
  state_->replies.Add({{"route", std::string(route)}, {"status", std::to_string(status)}}).Increment();
}

void Metrics::on_refusal(std::string_view cause) { state_->refusals.Add({{"cause", std::string(cause)}}).Increment(); }

std::string Metrics::text(const HttpCounters& http) const {
  State& s = *state_;
  s.connections.Set(static_cast<double>(http.connections));
  raise(s.accepted, http.accepted);
  raise(s.turned_away, http.turned_away);
  raise(s.timeouts, http.timeouts);
  raise(s.slow_readers, http.slow_readers);
  return prometheus::TextSerializer().Serialize(s.registry.Collect());
}

}  // namespace loci
