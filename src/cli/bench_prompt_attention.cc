#include "cli/bench_prompt_attention.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/cpu.h"
#include "base/progress.h"
#include "base/quantity.h"
#include "cli/table.h"
#include "cli/text_input.h"

namespace loci {
namespace {

struct PromptSeconds {
  double select = 0, read = 0;  // seconds of the whole prompt
  double prefill = 0;           // all that reading it took
  double macs = 0;              // of the reads

  double total() const { return select + read; }
};

struct PromptRow {
  std::string plan;
  uint32_t length = 0;
  PromptSeconds spent;  // of the median repetition
};

Result<PromptSeconds> read_prompt(Engine& engine, std::span<const TokenId> tokens, const Console& console) {
  ProgressBar bar(engine.info().attention, ProgressUnit::kTokens, console.err);
  Request request;
  request.prompt.assign(tokens.begin(), tokens.end());
  request.max_new_tokens = 1;
  request.ignore_eos = true;
  request.cancelled = console.cancel_flag();
  request.on_progress = [&](const Progress& p) { bar.update(p.prompt_done, p.prompt_total); };
  const EngineCounters before = engine.counters();
  LOCI_TRY(const Completion done, engine.generate(request));
  if (done.finish == Finish::kCancelled) return Error{ErrorCode::kCancelled, "interrupted"};
  const EngineCounters now = engine.counters();
  return PromptSeconds{.select = now.select_seconds - before.select_seconds,
                       .read = now.read_seconds - before.read_seconds,
                       .prefill = done.prefill_seconds,
                       .macs = static_cast<double>(now.attention_macs - before.attention_macs)};
}

Result<std::vector<PromptRow>> rows_of(std::vector<Engine>& engines, std::span<const TokenId> tokens,
                                       const PromptAttention& command, const Console& console) {
  std::vector<std::vector<PromptSeconds>> samples(engines.size());
  for (uint32_t i = 0; i < command.repetitions; ++i) {
    for (size_t e = 0; e < engines.size(); ++e) {
      LOCI_TRY(samples[e].emplace_back(), read_prompt(engines[e], tokens, console));
    }
  }
  std::vector<PromptRow> rows;
  for (size_t e = 0; e < engines.size(); ++e) {
    std::sort(samples[e].begin(), samples[e].end(),
              [](const PromptSeconds& a, const PromptSeconds& b) { return a.total() < b.total(); });
    rows.push_back(
        {engines[e].info().attention, static_cast<uint32_t>(tokens.size()), samples[e][samples[e].size() / 2]});
  }
  return rows;
}

// Of the time that a plan spares, how much it takes to choose; nothing where it spares none.
std::optional<double> choosing_share(const PromptRow& row, const PromptRow& against) {
  const double spared = against.spent.read - row.spent.read;
  if (spared <= 0) return std::nullopt;
  return row.spent.select / spared;
}

nlohmann::ordered_json json_of(const std::vector<std::vector<PromptRow>>& all, const std::string& model, int threads) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const std::vector<PromptRow>& rows : all) {
    for (const PromptRow& row : rows) {
      const std::optional<double> share = choosing_share(row, rows.back());
      out.push_back({{"attention", row.plan},
                     {"model", model},
                     {"threads", threads},
                     {"prompt_tokens", row.length},
                     {"select_ms", row.spent.select * 1e3},
                     {"read_ms", row.spent.read * 1e3},
                     {"attention_ms", row.spent.total() * 1e3},
                     {"speedup", rows.back().spent.total() / row.spent.total()},
                     {"select_of_saved", share ? nlohmann::ordered_json(*share) : nlohmann::ordered_json()},
                     {"read_gmac_s", row.spent.macs / 1e9 / row.spent.read},
                     {"prefill_ms", row.spent.prefill * 1e3}});
    }
  }
  return out;
}

std::string table_of(const std::vector<std::vector<PromptRow>>& all) {
  TextTable table({{"plan"},
                   {"tokens", true},
                   {"select ms", true},
                   {"read ms", true},
                   {"attention ms", true},
                   {"speedup", true},
                   {"select of saved", true},
                   {"GMAC/s", true},
                   {"prefill ms", true}});
  const auto ms = [](double seconds) { return fmt::format("{:.1f}", seconds * 1e3); };
  for (const std::vector<PromptRow>& rows : all) {
    for (const PromptRow& row : rows) {
      const std::optional<double> share = choosing_share(row, rows.back());
      table.add({row.plan, fmt::format("{}", row.length), ms(row.spent.select), ms(row.spent.read),
                 ms(row.spent.total()), fmt::format("{:.2f}x", rows.back().spent.total() / row.spent.total()),
                 share ? fmt::format("{:.0f}%", *share * 100) : "-",
                 format_number(row.spent.macs / 1e9 / row.spent.read), ms(row.spent.prefill)});
    }
  }
  return table.text();
}

}  // namespace

Result<int> bench_prompt_attention(const Console& console, const PromptAttention& command) {
  LOCI_TRY(const std::filesystem::path path, find_model(command.model.model, console));
  LOCI_TRY(const std::string text, read_text(command.text, console));
  const uint32_t longest = *std::max_element(command.lengths.begin(), command.lengths.end());
  std::vector<Engine> engines;
  for (const std::string& plan : command.plans) {
    EngineOptions options = engine_options(command.model);
    options.attention = plan;
    options.context = longest + 2;
    options.prefix_cache = false;  // every repetition reads the prompt anew
    LOCI_TRY(Engine engine, load_engine(path, options, console));
    engines.push_back(std::move(engine));
  }
  LOCI_TRY(const std::vector<TokenId> tokens,
           engines.front().tokenize(text, {.add_special = true, .parse_special = false}));
  if (tokens.size() < longest) {
    return fail(ErrorCode::kLimit, "'{}' has {} tokens, but a prompt of {} is asked for: give a longer text",
                command.text, tokens.size(), longest);
  }
  std::vector<std::vector<PromptRow>> all;
  for (const uint32_t length : command.lengths) {
    LOCI_TRY(all.emplace_back(), rows_of(engines, std::span(tokens).first(length), command, console));
  }
  const std::string& model = engines.front().info().name;
  const int threads = command.model.threads > 0 ? command.model.threads : cpu_info().cores;
  if (command.json) {
    console.write_json(json_of(all, model, threads));
    return kExitOk;
  }
  console.print("{}, {} threads, the first tokens of '{}', medians of {} repetitions in turns\n\n{}", model, threads,
                command.text, command.repetitions, table_of(all));
  return kExitOk;
}

}  // namespace loci
