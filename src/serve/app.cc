#include "serve/app.h"

#include <algorithm>

#include "attention/registry/describe.h"
#include "attention/registry/registry.h"
#include "base/error.h"
#include "serve/page.h"
#include "serve/request_log.h"

namespace loci {

namespace embedded {
std::string_view openapi_json();
}  // namespace embedded

using nlohmann::json;
using nlohmann::ordered_json;

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
      {"POST", "/v1/chat/completions", true, &App::chat},
      {"POST", "/v1/completions", true, &App::completions},
      {"POST", "/v1/chat/completions/tokens", true, &App::chat},
      {"POST", "/v1/completions/tokens", true, &App::completions},
      {"POST", "/v1/responses", true, &App::responses},
      {"POST", "/v1/embeddings", true, &App::embeddings},
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
               {"ms", millis_between(asked.begun, std::chrono::steady_clock::now())}});
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

void App::health(Asked& asked) { reply(asked, json_reply(200, R"({"status":"ok"})")); }

void App::ready(Asked& asked) {
  if (draining_) {
    reply(asked, json_reply(503, R"({"status":"draining"})"));
  } else if (loop() == nullptr) {
    reply(asked, json_reply(503, R"({"status":"loading"})"));
  } else {
    reply(asked, json_reply(200, R"({"status":"ready"})"));
  }
}

void App::metrics(Asked& asked) {
  const HttpCounters http = loop() == nullptr ? HttpCounters{} : http_->counters();
  reply(asked, {.status = 200,
                .headers = {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}},
                .body = metrics_.text(http)});
}

void App::openapi(Asked& asked) { reply(asked, json_reply(200, std::string(embedded::openapi_json()))); }

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

}  // namespace

void App::models(Asked& asked) {
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

void App::model(Asked& asked) {
  if (loop() == nullptr) return reply_error(asked, kLoading);
  const std::string name = asked.request.path.substr(asked.route->path.size());
  if (const auto error = check_model(name)) return reply_error(asked, *error);
  reply(asked, json_reply(200, model_json(options_, loop()->model()).dump()));
}

void App::plans(Asked& asked) { reply(asked, json_reply(200, registry_json(built_in_registry()).dump())); }

void App::page(Asked& asked) { reply(asked, page_reply()); }

void App::chat(Asked& asked) { ask(asked, &App::read_chat); }
void App::completions(Asked& asked) { ask(asked, &App::read_completion); }
void App::responses(Asked& asked) { ask(asked, &App::read_response); }
void App::embeddings(Asked& asked) { ask(asked, &App::read_embeddings); }

}  // namespace loci
