// loci bench serve: how a server answers under load.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>

#include "base/progress.h"
#include "base/quantity.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "serve/load.h"

namespace loci {
namespace {

struct BenchServeCommand {
  LoadOptions load;
  std::string prompts_file;
  std::string key_file;
  uint32_t prompt_words = 256;
  uint32_t shared_words = 0;
  uint32_t requests = 64;
  bool json = false;
};

// The value below which a share of the numbers lies; nearest rank.
double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
  return values[std::clamp<size_t>(rank, 1, values.size()) - 1];
}

// One prompt a line: a JSON string, an object with a "prompt", or the line itself.
Result<std::vector<std::string>> read_prompts(const std::string& path) {
  std::ifstream file(path);
  if (!file) return fail(ErrorCode::kIo, "cannot read the prompts in '{}'", path);
  std::vector<std::string> out;
  std::string line;
  while (std::getline(file, line)) {
    if (line.empty()) continue;
    const auto parsed = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (parsed.is_string()) {
      out.push_back(parsed.get<std::string>());
    } else if (parsed.is_object() && parsed.contains("prompt") && parsed["prompt"].is_string()) {
      out.push_back(parsed["prompt"].get<std::string>());
    } else {
      out.push_back(line);
    }
  }
  if (out.empty()) return fail(ErrorCode::kInvalidArgument, "'{}' holds no prompt; write one a line", path);
  return out;
}

// Words at random, each prompt its own, behind words that all share.
std::vector<std::string> make_prompts(const BenchServeCommand& command) {
  static constexpr const char* kWords[] = {"time",   "river", "house", "green", "letter", "under",  "seven", "window",
                                           "market", "stone", "quiet", "north", "paper",  "bridge", "light", "winter"};
  uint64_t state = command.load.seed * 2654435761u + 1;
  const auto words = [&](uint32_t count) {
    std::string out;
    for (uint32_t i = 0; i < count; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      out += kWords[state >> 60];
      out += ' ';
    }
    return out;
  };
  const std::string shared = words(command.shared_words);
  std::vector<std::string> out;
  for (uint32_t i = 0; i < command.requests; ++i)
    out.push_back(shared + fmt::format("{} ", i) + words(command.prompt_words));
  return out;
}

struct Figures {
  uint32_t failed = 0;
  uint32_t refused = 0;  // with 429
  std::string first_error;
  std::vector<double> first, per_token, gaps, total;
  uint64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
};

Figures figures_of(const LoadResult& result) {
  Figures out;
  for (const LoadSample& sample : result.samples) {
    if (!sample.ok) {
      ++out.failed;
      out.refused += sample.status == 429;
      if (out.first_error.empty()) out.first_error = fmt::format("{} {}", sample.status, sample.error);
      continue;
    }
    out.first.push_back(sample.first);
    out.total.push_back(sample.total);
    out.gaps.insert(out.gaps.end(), sample.gaps.begin(), sample.gaps.end());
    if (sample.completion_tokens > 1)
      out.per_token.push_back((sample.total - sample.first) / static_cast<double>(sample.completion_tokens - 1));
    out.prompt_tokens += sample.prompt_tokens;
    out.cached_tokens += sample.cached_tokens;
    out.completion_tokens += sample.completion_tokens;
  }
  return out;
}

nlohmann::ordered_json json_of(const std::vector<double>& seconds) {
  return {{"p50", percentile(seconds, 0.5)}, {"p95", percentile(seconds, 0.95)}, {"p99", percentile(seconds, 0.99)}};
}

void print(const Console& console, const LoadResult& result, const Figures& figures) {
  TextTable table({{"milliseconds"}, {"p50", true}, {"p95", true}, {"p99", true}});
  const auto row = [&](const char* name, const std::vector<double>& seconds) {
    table.add({name, format_number(percentile(seconds, 0.5) * 1000), format_number(percentile(seconds, 0.95) * 1000),
               format_number(percentile(seconds, 0.99) * 1000)});
  };
  row("to the first token", figures.first);
  row("per output token", figures.per_token);
  row("between pieces", figures.gaps);
  row("whole answer", figures.total);
  console.write(table.text());
  const auto per_second = [&](double amount) { return format_number(amount / std::max(result.seconds, 1e-9)); };
  console.print("{} answers in {}: {} a second, {} prompt and {} output tokens a second, {}% of the prompts cached\n",
                figures.total.size(), format_duration(result.seconds),
                per_second(static_cast<double>(figures.total.size())),
                per_second(static_cast<double>(figures.prompt_tokens)),
                per_second(static_cast<double>(figures.completion_tokens)),
                figures.prompt_tokens == 0 ? 0 : 100 * figures.cached_tokens / figures.prompt_tokens);
  if (figures.failed > 0) {
    console.print("{} failed ({} of them with 429): {}\n", figures.failed, figures.refused, figures.first_error);
  }
}

Result<int> bench_serve(const Console& console, const BenchServeCommand& command) {
  LoadOptions options = command.load;
  options.requests = command.requests;
  if (command.prompts_file.empty()) {
    options.prompts = make_prompts(command);
  } else {
    LOCI_TRY(options.prompts, read_prompts(command.prompts_file));
  }
  if (!command.key_file.empty()) {
    std::ifstream file(command.key_file);
    if (!(file >> options.api_key)) return fail(ErrorCode::kIo, "cannot read a key from '{}'", command.key_file);
  }
  options.cancelled = console.cancel_flag();
  ProgressBar bar("requests", ProgressUnit::kShare, console.err);
  options.on_progress = [&](uint32_t done) { bar.update(done, options.requests); };
  LOCI_TRY(const LoadResult result, run_load(options));
  bar.clear();
  const Figures figures = figures_of(result);
  if (command.json) {
    console.write_json({{"requests", result.samples.size()},
                        {"failed", figures.failed},
                        {"refused", figures.refused},
                        {"error", figures.first_error},
                        {"seconds", result.seconds},
                        {"first_token_seconds", json_of(figures.first)},
                        {"token_seconds", json_of(figures.per_token)},
                        {"gap_seconds", json_of(figures.gaps)},
                        {"answer_seconds", json_of(figures.total)},
                        {"prompt_tokens", figures.prompt_tokens},
                        {"cached_tokens", figures.cached_tokens},
                        {"completion_tokens", figures.completion_tokens},
                        {"output_tokens_per_second",
                         static_cast<double>(figures.completion_tokens) / std::max(result.seconds, 1e-9)}});
  } else {
    print(console, result, figures);
  }
  return figures.failed == 0 ? kExitOk : kExitError;
}

}  // namespace

void add_bench_serve(const Command& bench, Choice& choice) {
  auto options = std::make_shared<BenchServeCommand>();
  LoadOptions& load = options->load;
  load.url = "http://127.0.0.1:8080";
  load.concurrency = 16;
  const Command command = bench.add_command(
      "serve",
      "Load an OpenAI-protocol server with streamed completions and tell how long they took: time to the first token,\n"
      "time per output token, their percentiles, throughput. Fails if a request did.",
      "  loci bench serve --url http://127.0.0.1:8080 --concurrency 32 --requests 128\n"
      "  loci bench serve --rate 4 --concurrency 32 --prompts prompts.jsonl\n"
      "  loci bench serve --shared-words 3000 --prompt-words 50 --max-tokens 16 --json\n");
  command.add_option("--url", load.url, "The server, without /v1").shows_default().type("URL");
  command.add_option("--api-key-file", options->key_file, "File that begins with the key to use").type("FILE");
  command.add_option("--model", load.model, "Name to send; default: none").type("NAME");
  command.add_option("--attention", load.attention, "Plan to ask for; default: the server's").type("PLAN");
  command.add_option("--requests", options->requests, "Requests in all").shows_default().range(1u, 1000000u).type("N");
  command.add_option("--concurrency", load.concurrency, "Requests that are open at once")
      .shows_default()
      .range(1u, 10000u)
      .type("N");
  command.add_option("--rate", load.rate, "Starts a second, at random times; 0: as soon as one ends")
      .shows_default()
      .range(0.0, 1e6)
      .type("R");
  command
      .add_option("--prompts", options->prompts_file,
                  "Prompts, one a line: text, JSON strings or objects with a \"prompt\"")
      .type("FILE");
  command.add_option("--prompt-words", options->prompt_words, "Words of made-up prompts, where --prompts is not given")
      .shows_default()
      .range(1u, 1000000u)
      .type("N");
  command.add_option("--shared-words", options->shared_words, "Words that all made-up prompts begin with")
      .shows_default()
      .range(0u, 1000000u)
      .type("N");
  command.add_option("--max-tokens", load.max_tokens, "Tokens of an answer")
      .shows_default()
      .range(1u, 1000000u)
      .type("N");
  command.add_option("--seed", load.seed, "Of made-up prompts and random times").shows_default().type("N");
  command.add_flag("--json", options->json, "Print one JSON object; times in seconds");
  set_action(command, choice, options, bench_serve);
}

}  // namespace loci
