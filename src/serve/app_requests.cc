// What is common to all requests that ask the engine: the limits of keys, the worker that reads them, tickets, the log.
#include <algorithm>

#include "base/error.h"
#include "io/bounded_json.h"
#include "serve/app.h"
#include "serve/request_log.h"

namespace loci {

using nlohmann::ordered_json;

namespace {

constexpr size_t kJsonDepth = 64;
constexpr size_t kJsonValues = 2'000'000;

}  // namespace

double millis_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return to < from ? 0 : std::chrono::duration<double, std::milli>(to - from).count();
}

std::string App::Asked::tenant() const {
  return key == nullptr ? request.peer.substr(0, request.peer.rfind(':')) : key->name;
}

std::string App::Asked::salt(const std::string& given) const {
  return key == nullptr ? given : key->name + '\n' + given;
}

// Who asks may go while some prompts are still on their way to the engine.
struct App::Tickets {
  std::mutex mutex;
  std::vector<EngineLoop::Ticket> all;
  bool cancelled = false;

  void cancel(EngineLoop& loop) {
    const std::lock_guard lock(mutex);
    cancelled = true;
    for (const EngineLoop::Ticket ticket : all) loop.cancel(ticket);
    all.clear();
  }
};

void App::too_many(const Asked& asked, std::string message, uint32_t retry_after_seconds, const char* cause) {
  metrics_.on_refusal(cause);
  HttpReply out = error_reply({.status = 429,
                               .message = std::move(message),
                               .type = "rate_limit_error",
                               .code = std::string_view(cause) == "queue" ? "queue_full" : "rate_limit_exceeded"});
  out.headers.emplace_back("Retry-After", std::to_string(retry_after_seconds));
  reply(asked, std::move(out));
}

void App::end_use(const Asked& asked, uint64_t tokens) {
  if (asked.key != nullptr) use_.end(*asked.key, tokens, std::chrono::steady_clock::now());
}

void App::ask(Asked& asked, Reader read) {
  if (loop() == nullptr) return reply_error(asked, kLoading);
  if (draining_) return reply_error(asked, kShuttingDown);
  if (asked.key != nullptr) {
    if (const auto refusal = use_.begin(*asked.key, std::chrono::steady_clock::now()))
      return too_many(asked, refusal->why, refusal->retry_after_seconds, "key");
  }
  const auto kept = std::make_shared<Asked>(std::move(asked));
  const auto task = [this, kept, read] {
    Result<ordered_json> body =
        parse_bounded_ordered_json(kept->request.body, "the body",
                                   {.bytes = kept->request.body.size(), .depth = kJsonDepth, .values = kJsonValues});
    kept->request.forget_body();
    const std::optional<ApiError> error =
        body.ok() ? (this->*read)(kept, *body) : ApiError{.message = body.error().message, .code = "invalid_json"};
    if (!error) return;
    end_use(*kept, 0);
    reply_error(*kept, *error);
  };
  if (!worker_.post(task)) {
    end_use(*kept, 0);
    too_many(*kept, "Too many requests are waiting to be read", loop()->retry_after_seconds(), "queue");
  }
}

void App::cancel(Tickets& tickets) { tickets.cancel(*loop_); }

std::shared_ptr<App::Tickets> App::watch(const Asked& asked) {
  auto tickets = std::make_shared<Tickets>();
  asked.exchange->on_gone([this, tickets] { cancel(*tickets); });
  return tickets;
}

// All or none: an answer has one status.
void App::submit(const SharedAsked& asked, std::vector<EngineLoop::Submission> submissions,
                 const std::shared_ptr<Tickets>& tickets) {
  const auto deadline = asked->begun + options_.request_time;
  for (EngineLoop::Submission& one : submissions) one.deadline = deadline;
  Result<std::vector<EngineLoop::Ticket>> submitted = loop_->submit(std::move(submissions));
  if (!submitted.ok()) {
    end_use(*asked, 0);
    const Error& error = submitted.error();
    if (error.code == ErrorCode::kLimit) {
      too_many(*asked, error.message, loop_->retry_after_seconds(), "queue");
    } else {
      reply_error(*asked, error.code == ErrorCode::kCancelled ? kShuttingDown : api_error(error));
    }
    return;
  }
  const std::lock_guard lock(tickets->mutex);
  if (tickets->cancelled) {
    for (const EngineLoop::Ticket ticket : *submitted) loop_->cancel(ticket);
  } else {
    tickets->all = std::move(*submitted);
  }
}

void App::log_answer(const Asked& asked, const std::string& id, const std::string& attention,
                     const AnswerSummary& done) {
  metrics_.on_answer(done);
  metrics_.on_reply(asked.route->path, done.status);
  if (options_.trace != nullptr) options_.trace->on_answer(id, done);
  end_use(asked, done.prompt_tokens + done.completion_tokens);
  log_request({{"request", asked.id},
               {"answer", id},
               {"path", asked.request.path},
               {"status", done.status},
               {"tenant", asked.key == nullptr ? "" : asked.key->name},
               {"attention", attention},
               {"finish", done.finish},
               {"prompt_tokens", done.prompt_tokens},
               {"cached_tokens", done.cached_tokens},
               {"completion_tokens", done.completion_tokens},
               {"kept_tokens", done.kept_tokens},
               {"kv_bytes", done.kv_bytes},
               {"queue_ms", millis_between(done.begun, done.admitted)},
               {"first_ms", millis_between(done.begun, done.first_text)},
               {"ms", millis_between(done.begun, done.ended)}});
}

RequestLimits App::request_limits() const {
  const ModelInfo& info = loop_->model().info;
  return {.vocabulary = info.vocabulary, .context = info.context};
}

}  // namespace loci
