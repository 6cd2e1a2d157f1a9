// loci serve: the OpenAI-protocol server.
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/progress.h"
#include "base/quantity.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/text_input.h"
#include "serve/app.h"
#include "serve/arrivals.h"
#include "serve/request_log.h"

namespace loci {
namespace {

using std::chrono::milliseconds;

struct ServeCommand {
  ModelOptions model;
  std::string name;
  std::string chat_template;
  std::string host = "127.0.0.1";
  uint32_t port = 8080;
  std::string api_keys;
  bool insecure = false;
  std::string tls_cert;
  std::string tls_key;
  std::vector<std::string> cors_origins;
  std::vector<std::string> allowed_hosts;
  uint32_t batch = 32;
  uint64_t kv_bytes = 0;
  uint32_t queue = 256;
  uint32_t connections = 2048;
  uint64_t body_bytes = uint64_t{16} << 20;
  double request_seconds = 600;
  double drain_seconds = 30;
  std::string store;
  uint64_t store_bytes = uint64_t{8} << 30;
  std::string trace;
  std::string record;
  std::string replay;
  uint64_t fail_pages = 0;
  bool quiet = false;
  bool json = false;
};

bool loopback(const std::string& address) { return address == "::1" || address.starts_with("127."); }

Status check(const ServeCommand& command) {
  if (!command.store.empty() && !command.record.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "a record does not hold what --store brings back, so it could not be played; leave one of them out");
  }
  if (loopback(command.host) || !command.api_keys.empty() || command.insecure) return {};
  return fail(ErrorCode::kInvalidArgument,
              "{} can be reached from other machines: give --api-keys FILE, or --insecure to let everybody in",
              command.host);
}

// Names by which browsers may call a server that only this machine reaches; any for one that others reach.
std::vector<std::string> host_names(const ServeCommand& command) {
  if (!loopback(command.host) && command.allowed_hosts.empty()) return {};
  std::vector<std::string> out = command.allowed_hosts;
  for (const char* name : {"localhost", "127.0.0.1", "[::1]"}) out.emplace_back(name);
  out.push_back(command.host.find(':') == std::string::npos ? command.host : '[' + command.host + ']');
  return out;
}

Result<AppOptions> app_options(const ServeCommand& command, Trace* trace) {
  AppOptions out;
  out.model_name = command.name.empty() ? command.model.model : command.name;
  if (!command.api_keys.empty()) {
    LOCI_TRY(out.keys, ApiKeys::load(command.api_keys));
  }
  out.cors_origins = command.cors_origins;
  out.hosts = host_names(command);
  out.request_time = milliseconds(static_cast<int64_t>(command.request_seconds * 1000));
  out.most_reading = command.queue;
  out.trace = trace;
  return out;
}

HttpServerOptions http_options(const ServeCommand& command) {
  HttpServerOptions out;
  out.address = command.host;
  out.port = static_cast<uint16_t>(command.port);
  out.certificate_file = command.tls_cert;
  out.key_file = command.tls_key;
  out.limits.connections = command.connections;
  out.limits.body_bytes = command.body_bytes;
  return out;
}

// Tokens of one sequence, unless the user said: enough for a conversation, little enough for many.
constexpr uint32_t kDefaultContext = 8192;

EngineOptions serving_options(const ServeCommand& command, uint32_t trained_context) {
  EngineOptions out = engine_options(command.model);
  if (out.context == 0) out.context = std::min(trained_context, kDefaultContext);
  out.batch = command.batch;
  out.kv_bytes = command.kv_bytes;
  return out;
}

Result<LoadedModel> load_with_bar(const std::filesystem::path& path, EngineOptions options, const Console& console) {
  ProgressBar bar("loading", ProgressUnit::kShare, console.err);
  options.on_load = [&](double share) {
    bar.update(static_cast<uint64_t>(share * 1000), 1000);
    return !console.cancelled();
  };
  return load_model(path.string(), options);
}

Result<LoadedModel> load(const ServeCommand& command, const std::filesystem::path& path, const Console& console) {
  LOCI_TRY(const std::unique_ptr<ModelFile> file, open_model_file(path.string()));
  LOCI_TRY(const ModelMeasure measure, Model::measure(*file, Activations::kInt16));
  EngineOptions options = serving_options(command, measure.config.trained_context);
  if (options.kv_bytes == 0) {
    // A quarter of what every sequence could come to, and one whole sequence at least: few ever get that long.
    EngineOptions one = options;
    one.batch = 1;
    LOCI_TRY(const MemoryPlan plan, Engine::plan(path.string(), one));
    options.kv_bytes = std::max<uint64_t>(plan.kv_bytes, plan.kv_bytes / 4 * command.batch);
  }
  return load_with_bar(path, std::move(options), console);
}

// The file's template in place of the model's own.
Status use_chat_template(const std::string& path, const Console& console, LoadedModel& model) {
  if (path.empty()) return {};
  LOCI_TRY(const std::string source, read_text(path, console));
  model.chat_template = ChatTemplate::parse(source);
  model.info.has_chat_template = true;
  return model.chat_template->ok() ? Status() : Status(model.chat_template->error());
}

// A recorded load once more.
Result<int> play(const Console& console, const ServeCommand& command) {
  LOCI_TRY(Arrivals arrivals, read_arrivals(command.replay));
  arrivals.engine.threads = command.model.threads;
  arrivals.engine.isa = command.model.isa;
  LOCI_TRY(const std::filesystem::path path, find_model(command.model.model, console));
  LOCI_TRY(LoadedModel model, load_with_bar(path, arrivals.engine, console));
  LOCI_TRY(const ReplayResult result, replay(arrivals, model));
  if (command.json) {
    console.write_json({{"passes", result.passes}, {"choices", result.choices}, {"differences", result.differences}});
  } else {
    console.print("{} passes, {} answers: {}\n", result.passes, result.choices,
                  result.differences.empty() ? "all as recorded" : "not as recorded");
    for (const std::string& difference : result.differences) console.print("  {}\n", difference);
  }
  return result.differences.empty() ? kExitOk : kExitError;
}

// Until a signal comes; then answers that run may end, until a second signal or the time for it is over.
void wait_and_drain(const ServeCommand& command, const Console& console, App& app, HttpServer& http) {
  constexpr milliseconds kLook{50};
  while (!console.cancelled()) std::this_thread::sleep_for(kLook);
  app.drain();
  http.drain();
  if (http.open_exchanges() > 0)
    console.note("loci serve: ending {} answers; Ctrl-C again stops at once", http.open_exchanges());
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(command.drain_seconds);
  while (http.open_exchanges() > 0 && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(kLook);
}

Result<int> serve(const Console& console, const ServeCommand& command) {
  if (!command.replay.empty()) return play(console, command);
  LOCI_CHECK(check(command));
  std::unique_ptr<Trace> trace;
  if (!command.trace.empty()) {
    LOCI_TRY(trace, Trace::open(command.trace));
  }
  LOCI_TRY(AppOptions options, app_options(command, trace.get()));
  LOCI_TRY(const std::filesystem::path path, find_model(command.model.model, console));
  App app(std::move(options));
  LOCI_TRY(const std::unique_ptr<HttpServer> http, HttpServer::start(http_options(command), app));
  Result<LoadedModel> model = load(command, path, console);
  if (!model.ok()) return model.error();
  LOCI_CHECK(use_chat_template(command.chat_template, console, *model));
  if (!command.store.empty())
    LOCI_CHECK(model->core->keep_snapshots({.folder = command.store, .most_bytes = command.store_bytes}));
  model->core->pages().fail_every(command.fail_pages);
  if (!command.quiet) open_request_log();
  const ModelInfo info = model->info;
  const MemoryPlan memory = model->core->layout().memory;
  EngineLoop::Options loop;
  loop.most_waiting = command.queue;
  loop.read_answers = !command.store.empty();
  loop.listener = &app;
  if (!command.record.empty()) {
    LOCI_TRY(loop.log, ArrivalRecord::create(command.record, *model, engine_options(command.model)));
  }
  app.open(std::make_unique<EngineLoop>(std::move(*model), std::move(loop)), http.get());
  const std::string url =
      fmt::format("{}://{}:{}", command.tls_cert.empty() ? "http" : "https",
                  command.host.find(':') == std::string::npos ? command.host : '[' + command.host + ']', http->port());
  if (command.json) {
    console.write_json({{"url", url}, {"model", info.name}, {"context", info.context}, {"kv_bytes", memory.kv_bytes}});
  } else {
    console.print("{}  serving {}: {} tokens a sequence, {} sequences at once, {} of cache, plan {}\n", url, info.name,
                  info.context, command.batch, format_bytes(memory.kv_bytes), info.attention);
  }
  wait_and_drain(command, console, app, *http);
  app.stop();
  return kExitOk;
}

void add_network_options(const Command& command, ServeCommand& options) {
  constexpr const char* kGroup = "Network";
  command.add_option("--host", options.host, "Address to listen on; one that other machines reach needs --api-keys")
      .shows_default()
      .type("IP")
      .group(kGroup);
  command.add_option("--port", options.port, "Port; 0: any free one")
      .shows_default()
      .range(0u, 65535u)
      .type("N")
      .group(kGroup);
  command
      .add_option("--api-keys", options.api_keys,
                  "File of keys, one a line, with limits (docs/server.md); without it nobody is asked for one")
      .type("FILE")
      .group(kGroup);
  command
      .add_flag("--insecure", options.insecure,
                "Listen on an address that other machines reach without asking for keys")
      .group(kGroup);
  command.add_option("--tls-cert", options.tls_cert, "Certificate with its chain, PEM: speak HTTPS")
      .type("FILE")
      .group(kGroup);
  command.add_option("--tls-key", options.tls_key, "The certificate's key, PEM").type("FILE").group(kGroup);
  command
      .add_option("--cors-origin", options.cors_origins,
                  "Origin whose pages may call the server; may be given again; '*': any")
      .one_word_each()
      .type("ORIGIN")
      .group(kGroup);
  command
      .add_option("--allow-host", options.allowed_hosts,
                  "Name in the Host header to answer to besides localhost; may be given again")
      .one_word_each()
      .type("NAME")
      .group(kGroup);
}

void add_limit_options(const Command& command, ServeCommand& options) {
  constexpr const char* kGroup = "Limits";
  command.add_option("--batch", options.batch, "Sequences that are worked on at once")
      .shows_default()
      .range(1u, 1024u)
      .type("N")
      .group(kGroup);
  add_bytes_option(command, "--kv-memory", options.kv_bytes,
                   "Cache for all sequences and prefixes (4G, 512M); default: a quarter of what the batch could fill")
      .group(kGroup);
  command.add_option("--queue", options.queue, "Requests that may wait; more get 429")
      .shows_default()
      .range(1u, 100000u)
      .type("N")
      .group(kGroup);
  command.add_option("--connections", options.connections, "Connections that may be open")
      .shows_default()
      .range(1u, 100000u)
      .type("N")
      .group(kGroup);
  add_bytes_option(command, "--body-limit", options.body_bytes, "Largest request").default_text("16M").group(kGroup);
  command.add_option("--request-seconds", options.request_seconds, "Time after which an answer is ended")
      .shows_default()
      .range(0.1, 1e6)
      .type("S")
      .group(kGroup);
  command.add_option("--drain-seconds", options.drain_seconds, "Time that answers get to end after a signal")
      .shows_default()
      .range(0.0, 1e6)
      .type("S")
      .group(kGroup);
}

}  // namespace

void add_serve(const Command& app, Choice& choice) {
  auto options = std::make_shared<ServeCommand>();
  const Command command = app.add_command(
      "serve",
      "Serve a model with OpenAI's protocol: chat and completions, streamed or whole, many at once, each under its "
      "own\n"
      "attention plan if it asks for one, and a page for browsers. docs/server.md tells what there is. The first "
      "Ctrl-C\n"
      "lets answers end, the second stops at once.",
      "  loci serve -m smollm2\n"
      "  loci serve -m smollm2 --ctx 4096 --batch 16 --kv-memory 1G\n"
      "  loci serve -m smollm2 --host 0.0.0.0 --api-keys keys.txt --tls-cert cert.pem --tls-key key.pem\n"
      "  curl 127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\\n"
      "    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}], \"attention\": \"snapkv\"}'\n");
  add_model_options(command, options->model);
  command.add_option("--name", options->name, "The model's name in the protocol; default: as given with -m")
      .type("NAME");
  command.add_option("--chat-template", options->chat_template, "Jinja template in place of the model's own")
      .type("FILE");
  add_network_options(command, *options);
  add_limit_options(command, *options);
  command.add_option("--store", options->store, "Folder in which the cache of prompts outlives the server").type("DIR");
  add_bytes_option(command, "--store-bytes", options->store_bytes, "Most that --store takes").default_text("8G");
  command.add_option("--trace", options->trace, "Write a timeline of passes and requests for ui.perfetto.dev")
      .type("FILE");
  command.add_option("--record", options->record, "Write what comes and when, for --replay; it holds the prompts")
      .type("FILE");
  command.add_option("--replay", options->replay, "Serve nobody: play a record and compare passes and answers with it")
      .type("FILE");
  command
      .add_option("--fail-pages", options->fail_pages,
                  "For tests of what happens then: every N-th page of the cache cannot be had; 0: none")
      .shows_default()
      .type("N");
  command.add_flag("--quiet", options->quiet, "No line a request on stderr");
  command.add_flag("--json", options->json, "Print {\"url\", \"model\", \"context\", \"kv_bytes\"} when ready");
  set_action(command, choice, options, serve);
}

}  // namespace loci
