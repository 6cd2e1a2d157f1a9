// The server's routes: reads requests, asks the engine, answers in OpenAI's shapes.
//
// Routes that only look answer in the server's thread. Completions are read in a worker's thread (JSON, templates,
// tokens) and answered from the engine's. The order of destruction is fixed: stop() first, then the HttpServer, then
// this.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "engine/grammar_constraint.h"
#include "serve/answer.h"
#include "serve/api_keys.h"
#include "serve/completion_request.h"
#include "serve/embedding_request.h"
#include "serve/engine_loop.h"
#include "serve/http.h"
#include "serve/http_server.h"
#include "serve/metrics.h"
#include "serve/trace.h"
#include "serve/worker.h"

namespace loci {

struct AppOptions {
  std::string model_name;
  ApiKeys keys;
  std::vector<std::string> cors_origins;            // that browsers may ask from
  std::vector<std::string> hosts;                   // that the Host header may name; empty: any
  std::chrono::milliseconds request_time{600'000};  // until an answer must be complete
  size_t most_reading = 256;                        // requests whose JSON waits to be read
  Trace* trace = nullptr;                           // outlives it; may be null
};

class App final : public HttpHandler, public LoopListener {
 public:
  explicit App(AppOptions options);
  ~App() override;

  // The model is there: from now on requests are answered. `http` is asked for its counters.
  void open(std::unique_ptr<EngineLoop> loop, const HttpServer* http);
  // Completions are refused from now on; those that run go on.
  void drain() { draining_ = true; }
  // Ends what runs. No call comes from other threads afterwards.
  void stop();

  std::optional<HttpReply> refuse(const HttpRequest& head) override;
  void handle(HttpRequest request, std::shared_ptr<Exchange> exchange) override;
  HttpReply bad_request(int status, std::string_view what) override;
  void on_pass(const Pass& pass) override;

 private:
  // A request with what was found out about it.
  struct Route;
  struct Asked {
    HttpRequest request;
    std::shared_ptr<Exchange> exchange;
    const ApiKey* key = nullptr;  // null: there are none
    const Route* route = nullptr;
    std::string id;
    std::chrono::steady_clock::time_point begun = std::chrono::steady_clock::now();

    std::string tenant() const;
    std::string salt(const std::string& given) const;  // of one key alone
  };
  struct Route {
    std::string_view method;
    std::string_view path;  // ends in '/': whatever follows
    bool needs_key;
    void (App::*serve)(Asked& asked);
  };
  using SharedAsked = std::shared_ptr<Asked>;
  // What reads a request, in the worker's thread, and submits it or says what is wrong.
  using Reader = std::optional<ApiError> (App::*)(const SharedAsked& asked, const nlohmann::ordered_json& body);
  struct Tickets;

  static std::span<const Route> routes();
  static const Route* find_route(std::string_view path);

  std::optional<ApiError> check_host(const HttpRequest& head) const;
  std::optional<ApiError> authorize(const HttpRequest& head, const ApiKey** key) const;
  void add_cors(const HttpRequest& request, HttpHeaders& headers) const;
  void reply(const Asked& asked, HttpReply reply);
  void reply_error(const Asked& asked, const ApiError& error);
  std::string new_id(const char* prefix);
  EngineLoop* loop() const { return ready_ ? loop_.get() : nullptr; }

  void health(Asked& asked);
  void ready(Asked& asked);
  void metrics(Asked& asked);
  void openapi(Asked& asked);
  void models(Asked& asked);
  void model(Asked& asked);
  void plans(Asked& asked);
  void page(Asked& asked);
  void chat(Asked& asked);
  void completions(Asked& asked);
  void responses(Asked& asked);
  void embeddings(Asked& asked);

  // app_requests.cc: what asks the engine.
  void ask(Asked& asked, Reader read);
  void too_many(const Asked& asked, std::string message, uint32_t retry_after_seconds, const char* cause);
  void end_use(const Asked& asked, uint64_t tokens);
  std::shared_ptr<Tickets> watch(const Asked& asked);
  void submit(const SharedAsked& asked, std::vector<EngineLoop::Submission> submissions,
              const std::shared_ptr<Tickets>& tickets);
  void cancel(Tickets& tickets);
  void log_answer(const Asked& asked, const std::string& id, const std::string& attention, const AnswerSummary& done);

  // In the worker's thread.
  std::optional<ApiError> read_chat(const SharedAsked& asked, const nlohmann::ordered_json& body);
  std::optional<ApiError> read_completion(const SharedAsked& asked, const nlohmann::ordered_json& body);
  std::optional<ApiError> read_response(const SharedAsked& asked, const nlohmann::ordered_json& body);
  std::optional<ApiError> read_embeddings(const SharedAsked& asked, const nlohmann::ordered_json& body);
  RequestLimits request_limits() const;
  std::optional<ApiError> check_model(const std::string& name) const;
  // app_completions.cc
  std::optional<ApiError> begin_answer(const SharedAsked& asked, ReadRequest read);
  std::optional<ApiError> find_grammar(const CompletionRequest& request, std::shared_ptr<GrammarMasks>& out);
  std::optional<ApiError> tokens_of(CompletionRequest& request, std::vector<ChatPrompt>& out) const;
  std::optional<ApiError> make_requests(CompletionRequest& request, const Asked& asked,
                                        const std::shared_ptr<GrammarMasks>& grammar, std::vector<BatchRequest>& out);
  std::optional<ApiError> check_plan(const std::string& attention) const;
  void count_tokens(const Asked& asked, const std::vector<BatchRequest>& batch);
  void submit_answer(const SharedAsked& asked, CompletionRequest request, std::vector<BatchRequest> batch);

  AppOptions options_;
  Metrics metrics_;
  KeyUse use_;
  std::unique_ptr<EngineLoop> loop_;
  const HttpServer* http_ = nullptr;
  std::atomic<bool> ready_{false};
  std::atomic<bool> draining_{false};
  std::atomic<uint64_t> next_id_{1};
  std::string run_id_;      // of this process, in ids
  std::mt19937_64 random_;  // seeds of requests without one; the worker's
  // Of the worker's thread: what constrained answers need, made when one is first asked for.
  std::shared_ptr<const TokenTrie> tokens_;
  std::list<std::pair<std::string, std::shared_ptr<GrammarMasks>>> grammars_;  // by digest, the last used first
  Worker worker_;
};

double millis_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to);

}  // namespace loci
