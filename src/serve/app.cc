#include "serve/app.h"

#include <algorithm>
#include <ctime>

#include "attention/registry/describe.h"
#include "attention/registry/registry.h"
#include "base/error.h"
#include "io/bounded_json.h"
#include "serve/page.h"
#include "serve/request_log.h"
#include "text/json_grammar.h"

namespace loci {

namespace embedded {
std::string_view openapi_json();
}  // namespace embedded

using nlohmann::json;
using nlohmann::ordered_json;

struct App::Asked {
  HttpRequest request;
  std::shared_ptr<Exchange> exchange;
  const ApiKey* key = nullptr;  // null: there are none
  const Route* route = nullptr;
  std::string id;
  std::chrono::steady_clock::time_point begun = std::chrono::steady_clock::now();
};

struct App::Route {
  std::string_view method;
  std::string_view path;  // ends in '/': whatever follows
  bool needs_key;
  void (App::*serve)(const Asked& asked);
};

std::span<const App::Route> App::routes() {
  static constexpr Route kRoutes[] = {
      {"GET", "/", false, &App::page},
      {"GET", "/health", false, &App::health},
      {"GET", "/ready", false, &App::ready},
      {"GET", "/metrics", true, &App::metrics},
      {"GET", "/openapi.json", false, &App::openapi},
      {"GET", "/v1/models", true, &App::models},
      {"GET", "/v1/models/", true, &App::model},
      {"GET", "/v1/attention_plans", true, &App::plans},
      {"POST", "/v1/chat/completions", true, &App::completions},
      {"POST", "/v1/completions", true, &App::completions},
      {"POST", "/v1/chat/completions/tokens", true, &App::completions},
      {"POST", "/v1/completions/tokens", true, &App::completions},
  };
  return kRoutes;
}

const App::Route* App::find_route(std::string_view path) {
  for (const Route& route : routes()) {
    const bool tail = route.path.size() > 1 && route.path.back() == '/';
    if (tail ? path.size() > route.path.size() && path.starts_with(route.path) : path == route.path) return &route;
  }
  return nullptr;
}

namespace {

constexpr size_t kJsonDepth = 64;
constexpr size_t kJsonValues = 2'000'000;

bool is_json(std::string_view content_type) {
  const std::string_view kind = content_type.substr(0, content_type.find(';'));
  std::string lower;
  for (const char c : kind) {
    if (c != ' ') lower += 'A' <= c && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return lower == "application/json";
}

// "localhost:8080" -> "localhost", "[::1]:8080" -> "[::1]".
std::string_view host_name(std::string_view host) {
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.find(':'));
}

double millis(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return to < from ? 0 : std::chrono::duration<double, std::milli>(to - from).count();
}

std::string address_of(const std::string& peer) { return peer.substr(0, peer.rfind(':')); }

}  // namespace

App::App(AppOptions options)
    : options_(std::move(options)), random_(std::random_device{}()), worker_(options_.most_reading) {
  std::random_device device;
  run_id_ = fmt::format("{:08x}{:08x}", device(), device());
}

App::~App() { stop(); }

void App::open(std::unique_ptr<EngineLoop> loop, const HttpServer* http) {
  http_ = http;
  loop_ = std::move(loop);
  ready_ = true;
}

void App::stop() {
  draining_ = true;
  worker_.stop();
  if (loop_ != nullptr) loop_->stop();
}

void App::on_pass(const Pass& pass) {
  metrics_.on_pass(pass);
  if (options_.trace != nullptr) options_.trace->on_pass(pass);
}

std::string App::new_id(const char* prefix) { return fmt::format("{}{}{:x}", prefix, run_id_, next_id_++); }

HttpReply App::bad_request(int status, std::string_view what) {
  metrics_.on_refusal(status == 413 ? "body" : status == 408 ? "time" : "http");
  metrics_.on_reply("none", status);
  return error_reply({.status = status, .message = std::string(what), .code = status == 413 ? "body_too_large" : ""});
}

// A page of somewhere else could let a name of its own point to this machine: only names of ours are answered.
std::optional<ApiError> App::check_host(const HttpRequest& head) const {
  if (options_.hosts.empty()) return std::nullopt;
  const std::string_view host = host_name(head.header("host"));
  if (host.empty() || std::find(options_.hosts.begin(), options_.hosts.end(), host) != options_.hosts.end())
    return std::nullopt;
  return ApiError{.status = 403,
                  .message = fmt::format("This server does not answer to the host '{}'; name it with --allow-host",
                                         host.substr(0, 256)),
                  .code = "host_not_allowed"};
}

std::optional<ApiError> App::authorize(const HttpRequest& head, const ApiKey** key) const {
  *key = nullptr;
  if (options_.keys.empty()) return std::nullopt;
  const std::string_view given = bearer(head.header("authorization"));
  if (!given.empty()) *key = options_.keys.find(given);
  if (*key != nullptr) return std::nullopt;
  return ApiError{
      .status = 401,
      .message = given.empty() ? "An API key is needed: Authorization: Bearer KEY" : "The API key is unknown",
      .type = "authentication_error",
      .code = "invalid_api_key"};
}

std::optional<HttpReply> App::refuse(const HttpRequest& head) {
  const auto refuse_with = [&](const ApiError& error, const char* cause) {
    metrics_.on_refusal(cause);
    metrics_.on_reply("none", error.status);
    HttpReply reply = error_reply(error);
    if (error.status == 401) reply.headers.emplace_back("WWW-Authenticate", "Bearer");
    add_cors(head, reply.headers);
    return reply;
  };
  if (const auto error = check_host(head)) return refuse_with(*error, "host");
  const Route* route = find_route(head.path);
  if (route == nullptr || head.method == "OPTIONS") return std::nullopt;
  const ApiKey* key = nullptr;
  if (route->needs_key) {
    if (const auto error = authorize(head, &key)) return refuse_with(*error, "auth");
  }
  if (head.method == "POST" && route->method == "POST") {
    // Also what keeps pages of other origins from posting without being asked (a simple request has another type).
    if (!is_json(head.header("content-type")))
      return refuse_with({.status = 415, .message = "The Content-Type must be application/json"}, "type");
  }
  return std::nullopt;
}

void App::add_cors(const HttpRequest& request, HttpHeaders& headers) const {
  const std::string_view origin = request.header("origin");
  if (origin.empty() || options_.cors_origins.empty()) return;
  const bool all = options_.cors_origins.front() == "*";
  if (!all &&
      std::find(options_.cors_origins.begin(), options_.cors_origins.end(), origin) == options_.cors_origins.end()) {
    return;
  }
  headers.emplace_back("Access-Control-Allow-Origin", all ? "*" : std::string(origin));
  headers.emplace_back("Vary", "Origin");
  if (request.method != "OPTIONS") return;
  headers.emplace_back("Access-Control-Allow-Methods", "GET, POST");
  headers.emplace_back("Access-Control-Allow-Headers", "Authorization, Content-Type");
  headers.emplace_back("Access-Control-Max-Age", "600");
}

void App::reply(const Asked& asked, HttpReply reply) {
  metrics_.on_reply(asked.route == nullptr ? "other" : asked.route->path, reply.status);
  log_request({{"request", asked.id},
               {"method", asked.request.method.substr(0, 16)},
               {"path", asked.request.path.substr(0, 256)},
               {"status", reply.status},
               {"tenant", asked.key == nullptr ? "" : asked.key->name},
               {"ms", millis(asked.begun, std::chrono::steady_clock::now())}});
  reply.headers.emplace_back("X-Request-Id", asked.id);
  add_cors(asked.request, reply.headers);
  asked.exchange->reply(std::move(reply));
}

void App::reply_error(const Asked& asked, const ApiError& error) { reply(asked, error_reply(error)); }

void App::handle(HttpRequest request, std::shared_ptr<Exchange> exchange) {
  Asked asked;
  asked.id = new_id("req-");
  asked.route = find_route(request.path);
  asked.request = std::move(request);
  asked.exchange = std::move(exchange);
  if (asked.request.method == "OPTIONS" && asked.route != nullptr) {
    reply(asked, {.status = 204, .headers = {{"Allow", fmt::format("{}, OPTIONS", asked.route->method)}}, .body = {}});
    return;
  }
  if (asked.route == nullptr) {
    reply_error(asked, {.status = 404,
                        .message = fmt::format("There is nothing at {} {}", asked.request.method.substr(0, 16),
                                               asked.request.path.substr(0, 256)),
                        .code = "unknown_url"});
    return;
  }
  if (asked.request.method != asked.route->method &&
      !(asked.request.method == "HEAD" && asked.route->method == "GET")) {
    HttpReply wrong = error_reply({.status = 405,
                                   .message = fmt::format("{} takes {}", asked.route->path, asked.route->method),
                                   .code = "method_not_allowed"});
    wrong.headers.emplace_back("Allow", std::string(asked.route->method));
    reply(asked, std::move(wrong));
    return;
  }
  if (asked.route->needs_key) authorize(asked.request, &asked.key);
  (this->*asked.route->serve)(asked);
}

void App::health(const Asked& asked) { reply(asked, json_reply(200, R"({"status":"ok"})")); }

void App::ready(const Asked& asked) {
  if (draining_) {
    reply(asked, json_reply(503, R"({"status":"draining"})"));
  } else if (loop() == nullptr) {
    reply(asked, json_reply(503, R"({"status":"loading"})"));
  } else {
    reply(asked, json_reply(200, R"({"status":"ready"})"));
  }
}

void App::metrics(const Asked& asked) {
  const HttpCounters http = loop() == nullptr ? HttpCounters{} : http_->counters();
  reply(asked, {.status = 200,
                .headers = {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}},
                .body = metrics_.text(http)});
}

void App::openapi(const Asked& asked) { reply(asked, json_reply(200, std::string(embedded::openapi_json()))); }

namespace {

ordered_json model_json(const AppOptions& options, const LoadedModel& model) {
  return {{"id", options.model_name},
          {"object", "model"},
          {"created", 0},
          {"owned_by", "loci"},
          {"context_length", model.info.context},
          {"parameters", model.info.parameters},
          {"architecture", model.info.architecture},
          {"attention", model.info.attention},
          {"kv_bytes_per_token", model.info.kv_bytes_per_token},
          {"chat", model.info.has_chat_template}};
}

const ApiError kLoading = {
    .status = 503, .message = "The model is still being loaded", .type = "server_error", .code = "loading"};

}  // namespace

void App::models(const Asked& asked) {
  if (loop() == nullptr) return reply_error(asked, kLoading);
  const ordered_json out = {{"object", "list"}, {"data", ordered_json::array({model_json(options_, loop()->model())})}};
  reply(asked, json_reply(200, out.dump()));
}

std::optional<ApiError> App::check_model(const std::string& name) const {
  if (name.empty() || name == options_.model_name) return std::nullopt;
  return ApiError{.status = 404,
                  .message = fmt::format("The model '{}' is not here; '{}' is", name, options_.model_name),
                  .param = "model",
                  .code = "model_not_found"};
}

void App::model(const Asked& asked) {
  if (loop() == nullptr) return reply_error(asked, kLoading);
  const std::string name = asked.request.path.substr(asked.route->path.size());
  if (const auto error = check_model(name)) return reply_error(asked, *error);
  reply(asked, json_reply(200, model_json(options_, loop()->model()).dump()));
}

void App::plans(const Asked& asked) { reply(asked, json_reply(200, registry_json(built_in_registry()).dump())); }

void App::page(const Asked& asked) { reply(asked, page_reply()); }

void App::completions(const Asked& asked) {
  const auto busy = [&](std::string message, uint32_t seconds, const char* cause) {
    metrics_.on_refusal(cause);
    HttpReply out = error_reply(
        {.status = 429, .message = std::move(message), .type = "rate_limit_error", .code = "rate_limit_exceeded"});
    out.headers.emplace_back("Retry-After", std::to_string(seconds));
    reply(asked, std::move(out));
  };
  if (loop() == nullptr) return reply_error(asked, kLoading);
  if (draining_) {
    return reply_error(
        asked,
        {.status = 503, .message = "The server is shutting down", .type = "server_error", .code = "shutting_down"});
  }
  if (asked.key != nullptr) {
    if (const auto refusal = use_.begin(*asked.key, std::chrono::steady_clock::now()))
      return busy(refusal->why, refusal->retry_after_seconds, "key");
  }
  const bool chat = asked.route->path.starts_with("/v1/chat/completions");
  auto kept = std::make_shared<Asked>(asked);
  if (!worker_.post([this, kept, chat] { read_completion(kept, chat); })) {
    if (asked.key != nullptr) use_.end(*asked.key, 0, std::chrono::steady_clock::now());
    busy("Too many requests are waiting to be read", loop()->retry_after_seconds(), "queue");
  }
}

void App::read_completion(const std::shared_ptr<Asked>& asked, bool chat) {
  const auto fail_with = [&](const ApiError& error) {
    if (asked->key != nullptr) use_.end(*asked->key, 0, std::chrono::steady_clock::now());
    reply_error(*asked, error);
  };
  const LoadedModel& model = loop_->model();
  Result<json> body =
      parse_bounded_json(asked->request.body, "the body",
                         {.bytes = asked->request.body.size(), .depth = kJsonDepth, .values = kJsonValues});
  if (!body.ok()) return fail_with({.message = body.error().message, .code = "invalid_json"});
  const RequestLimits limits{.vocabulary = model.info.vocabulary, .context = model.info.context};
  auto read = chat ? read_chat_request(*body, limits) : read_completion_request(*body, limits);
  if (const ApiError* error = std::get_if<ApiError>(&read)) return fail_with(*error);
  CompletionRequest request = std::move(std::get<CompletionRequest>(read));
  if (const auto error = check_model(request.model)) return fail_with(*error);
  std::shared_ptr<GrammarMasks> grammar;
  if (!request.response_format.is_null() || request.must_call()) {
    if (const auto error = find_grammar(request, asked->request.body, grammar)) return fail_with(*error);
  }
  asked->request.body = {};
  std::vector<BatchRequest> batch;
  if (const auto error = make_requests(request, *asked, grammar, batch)) return fail_with(*error);
  if (asked->route->path.ends_with("/tokens")) {
    if (const auto error = check_plan(request.attention)) return fail_with(*error);
    return count_tokens(*asked, batch);
  }
  submit(asked, std::move(request), std::move(batch));
}

// As the engine does when the request begins; what is made for it is thrown away.
std::optional<ApiError> App::check_plan(const std::string& attention) const {
  if (attention.empty()) return std::nullopt;
  const Core& core = *loop_->model().core;
  const Result<PlanLayout> plan = lay_out_plan(core.model().config(), core.fingerprint(), attention,
                                               core.layout().context, core.layout().chunk, core.layout().threads);
  if (plan.ok()) return std::nullopt;
  ApiError error = api_error(plan.error());
  error.param = "attention";
  return error;
}

// What the request would read, of a request that is not made.
void App::count_tokens(const Asked& asked, const std::vector<BatchRequest>& batch) {
  uint64_t tokens = 0;
  for (const BatchRequest& one : batch) tokens += one.choices.front().prompt.size();
  if (asked.key != nullptr) use_.end(*asked.key, 0, std::chrono::steady_clock::now());
  const ordered_json out = {
      {"object", "prompt_tokens"}, {"prompt_tokens", tokens}, {"context_length", loop_->model().info.context}};
  reply(asked, json_reply(200, out.dump()));
}

namespace {

// Of a call of one of the tools, or of the one that is chosen by name.
Result<Grammar> call_grammar(const ordered_json& tools, const json& choice) {
  std::vector<FunctionSchema> functions;
  for (const ordered_json& tool : tools) {
    const ordered_json& function = tool["function"];
    FunctionSchema one{.name = function["name"], .parameters = nullptr};
    if (function.contains("parameters") && function["parameters"].is_object()) one.parameters = &function["parameters"];
    if (choice.is_object() && choice["function"]["name"] != one.name) continue;
    functions.push_back(std::move(one));
  }
  if (functions.empty()) return fail(ErrorCode::kInvalidArgument, "'tool_choice' names none of the tools");
  return tool_call_grammar(functions);
}

// What tells a model of its tools, for templates that know of none: the form that Hermes and Qwen were trained on.
std::string describe_tools(const json& tools) {
  std::string out = "You may call functions. Their signatures are JSON in <tools></tools>:\n<tools>\n";
  for (const json& tool : tools) out += tool.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  out +=
      "</tools>\nTo call one, write a JSON object with its name and arguments in "
      "<tool_call></tool_call>:\n<tool_call>\n"
      "{\"name\": NAME, \"arguments\": {...}}\n</tool_call>";
  return out;
}

}  // namespace

std::optional<ApiError> App::find_grammar(const CompletionRequest& request, const std::string& body,
                                          std::shared_ptr<GrammarMasks>& out) {
  constexpr size_t kMostGrammars = 32;
  // Read again: properties come in the order in which they were written.
  const ordered_json ordered = ordered_json::parse(body, nullptr, /*allow_exceptions=*/false);
  const bool must_call = request.must_call();
  std::string key;
  if (must_call) {
    key = ordered["tools"].dump() + request.tool_choice.dump();
  } else if (request.response_format["type"] == "json_schema") {
    key = ordered["response_format"]["json_schema"]["schema"].dump();
  }
  const auto known = std::find_if(grammars_.begin(), grammars_.end(), [&](const auto& g) { return g.first == key; });
  if (known != grammars_.end()) {
    grammars_.splice(grammars_.begin(), grammars_, known);
    out = known->second;
    return std::nullopt;
  }
  Result<Grammar> grammar = must_call     ? call_grammar(ordered["tools"], request.tool_choice)
                            : key.empty() ? json_object_grammar()
                                          : json_schema_grammar(ordered["response_format"]["json_schema"]["schema"]);
  if (!grammar.ok()) {
    const char* const param = must_call ? "tools" : "response_format";
    return ApiError{.message = fmt::format("Invalid '{}': {}", param, grammar.error().message),
                    .param = param,
                    .code = "invalid_json_schema"};
  }
  if (tokens_ == nullptr) tokens_ = std::make_shared<const TokenTrie>(*loop_->model().tokenizer);
  out = std::make_shared<GrammarMasks>(std::move(*grammar), tokens_);
  grammars_.emplace_front(std::move(key), out);
  if (grammars_.size() > kMostGrammars) grammars_.pop_back();
  return std::nullopt;
}

// One batch request for every prompt.
std::optional<ApiError> App::make_requests(CompletionRequest& request, const Asked& asked,
                                           const std::shared_ptr<GrammarMasks>& grammar,
                                           std::vector<BatchRequest>& out) {
  const LoadedModel& model = loop_->model();
  const std::string salt = asked.key == nullptr ? request.cache_salt : asked.key->name + '\n' + request.cache_salt;
  if (!request.seeded) request.sampling.seed = random_();
  const auto add = [&](std::vector<TokenId> tokens, std::vector<LabelledSpan> spans) -> std::optional<ApiError> {
    const uint32_t context = model.info.context;
    const uint64_t prompt = tokens.size();
    if (prompt == 0) return ApiError{.message = "The prompt is empty", .param = "prompt", .code = "invalid_value"};
    if (prompt >= context || (request.max_tokens && prompt + *request.max_tokens > context)) {
      return ApiError{.message = fmt::format("The prompt has {} tokens and {} are asked for, but the context holds {}",
                                             prompt, request.max_tokens.value_or(1), context),
                      .param = request.chat ? "messages" : "prompt",
                      .code = "context_length_exceeded"};
    }
    Request one;
    one.max_new_tokens =
        request.max_tokens.value_or(request.chat ? context - static_cast<uint32_t>(prompt)
                                                 : std::min(16u, context - static_cast<uint32_t>(prompt)));
    one.sampling = request.sampling;
    one.stop = request.stop;
    one.ignore_eos = request.ignore_eos;
    one.salt = salt;
    one.task = request.task;
    one.top_logprobs = request.top_logprobs;
    BatchRequest batch;
    batch.tenant = asked.key == nullptr ? address_of(asked.request.peer) : asked.key->name;
    for (uint32_t c = 0; c < request.choices; ++c) {
      Request choice = one;
      choice.sampling.seed = one.sampling.seed + c;
      if (grammar != nullptr) choice.constraint = std::make_shared<GrammarConstraint>(grammar);
      if (c == 0) {
        choice.prompt = std::move(tokens);
        choice.spans = std::move(spans);
      }
      batch.choices.push_back(std::move(choice));
    }
    out.push_back(std::move(batch));
    return std::nullopt;
  };
  if (request.chat) {
    if (request.has_tools()) {
      const std::string tools = describe_tools(request.tools);
      if (request.messages.front().role == "system") {
        request.messages.front().content += "\n\n" + tools;
      } else {
        request.messages.insert(request.messages.begin(), {.role = "system", .content = tools});
      }
    }
    Result<ChatPrompt> prompt = chat_prompt_of(model, request.messages, /*add_generation_prompt=*/true);
    if (!prompt.ok()) return api_error(prompt.error());
    return add(std::move(prompt->tokens), std::move(prompt->spans));
  }
  for (const auto& prompt : request.prompts) {
    if (const auto* tokens = std::get_if<std::vector<TokenId>>(&prompt)) {
      if (const auto error = add(*tokens, {})) return error;
      continue;
    }
    Result<std::vector<TokenId>> tokens = model.tokenizer->encode(std::get<std::string>(prompt));
    if (!tokens.ok()) return api_error(tokens.error());
    if (const auto error = add(std::move(*tokens), {})) return error;
  }
  return std::nullopt;
}

void App::submit(const std::shared_ptr<Asked>& asked, CompletionRequest request, std::vector<BatchRequest> batch) {
  const bool chat = request.chat;
  AnswerHead head{.id = new_id(chat ? "chatcmpl-" : "cmpl-"),
                  .created = static_cast<int64_t>(std::time(nullptr)),
                  .model = options_.model_name,
                  .fingerprint = "loci-" + loop_->model().core->fingerprint().substr(0, 16),
                  .headers = {{"X-Request-Id", asked->id}}};
  add_cors(asked->request, head.headers);
  const std::string attention = request.attention;
  const std::string plan = attention.empty() ? loop_->model().info.attention : attention;
  const std::string answer_id = head.id;
  const auto on_end = [this, asked, plan, answer_id](const AnswerSummary& done) {
    metrics_.on_answer(done);
    metrics_.on_reply(asked->route->path, done.status);
    if (options_.trace != nullptr) options_.trace->on_answer(answer_id, done);
    if (asked->key != nullptr)
      use_.end(*asked->key, done.prompt_tokens + done.completion_tokens, std::chrono::steady_clock::now());
    log_request({{"request", asked->id},
                 {"answer", answer_id},
                 {"path", asked->request.path},
                 {"status", done.status},
                 {"tenant", asked->key == nullptr ? "" : asked->key->name},
                 {"attention", plan},
                 {"finish", done.finish},
                 {"prompt_tokens", done.prompt_tokens},
                 {"cached_tokens", done.cached_tokens},
                 {"completion_tokens", done.completion_tokens},
                 {"kept_tokens", done.kept_tokens},
                 {"kv_bytes", done.kv_bytes},
                 {"queue_ms", millis(done.begun, done.admitted)},
                 {"first_ms", millis(done.begun, done.first_text)},
                 {"ms", millis(asked->begun, done.ended)}});
  };
  const bool logprobs = request.logprobs;
  const std::optional<MemoryWatch> memory = request.memory;
  const uint32_t choices = request.choices;
  const auto answer = std::make_shared<CompletionAnswer>(asked->exchange, std::move(request), std::move(head),
                                                         *loop_->model().tokenizer, on_end);
  // Who asks may go while some prompts are still on their way to the engine.
  struct Tickets {
    std::mutex mutex;
    std::vector<EngineLoop::Ticket> all;
    bool gone = false;
  };
  const auto tickets = std::make_shared<Tickets>();
  asked->exchange->on_gone([loop = loop_.get(), tickets] {
    const std::lock_guard lock(tickets->mutex);
    tickets->gone = true;
    for (const EngineLoop::Ticket ticket : tickets->all) loop->cancel(ticket);
  });
  const auto deadline = EngineLoop::Clock::now() + options_.request_time;
  for (uint32_t p = 0; p < batch.size(); ++p) {
    const uint32_t first = p * choices;
    for (uint32_t c = 0; c < choices; ++c) {
      batch[p].choices[c].on_text = [answer, choice = first + c](std::string_view text) {
        answer->on_text(choice, text);
      };
      if (logprobs) {
        batch[p].choices[c].on_token = [answer, choice = first + c](const TokenLogprob& token) {
          answer->on_token(choice, token);
        };
      }
    }
    if (memory) {
      batch[p].memory = *memory;
      batch[p].memory.on_picture = [answer, first](uint32_t choice, const MemoryPicture& picture) {
        answer->on_memory(first + choice, picture);
      };
    }
    batch[p].on_admitted = [answer] { answer->admitted(); };
    batch[p].on_done = [answer, first](uint32_t choice, Result<Completion> done) {
      answer->on_done(first + choice, std::move(done));
    };
  }
  // All or none: an answer has one status.
  std::vector<EngineLoop::Submission> submissions;
  for (BatchRequest& one : batch) {
    submissions.push_back({.request = std::move(one), .attention = attention, .deadline = deadline});
  }
  Result<std::vector<EngineLoop::Ticket>> submitted = loop_->submit(std::move(submissions));
  if (!submitted.ok()) {
    metrics_.on_refusal("queue");
    if (asked->key != nullptr) use_.end(*asked->key, 0, std::chrono::steady_clock::now());
    HttpReply busy = error_reply(
        {.status = 429, .message = submitted.error().message, .type = "rate_limit_error", .code = "queue_full"});
    busy.headers.emplace_back("Retry-After", std::to_string(loop_->retry_after_seconds()));
    reply(*asked, std::move(busy));
    return;
  }
  const std::lock_guard lock(tickets->mutex);
  tickets->all = std::move(*submitted);
  if (!tickets->gone) return;
  for (const EngineLoop::Ticket ticket : tickets->all) loop_->cancel(ticket);
}

}  // namespace loci
