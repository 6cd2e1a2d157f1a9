// loci eval compare: two runs, or two plans of one, prompt by prompt.
#include <algorithm>
#include <memory>

#include "cli/eval_commands.h"
#include "cli/table.h"
#include "eval/comparison.h"

namespace loci {
namespace {

struct CompareCommand {
  std::vector<std::string> files;
  std::vector<std::string> plans;
  bool json = false;
};

using PlanPair = std::pair<std::string, std::string>;

std::vector<std::string> plans_of(const std::vector<PromptResult>& results) {
  std::vector<std::string> out;
  for (const PromptResult& result : results) {
    if (std::find(out.begin(), out.end(), result.key.plan) == out.end()) out.push_back(result.key.plan);
  }
  return out;
}

// Of one file: each plan against dense, or against the first if there is no dense. Of two: each plan that both have.
Result<std::vector<PlanPair>> choose_plans(const CompareCommand& command, const FinishedResults& first,
                                           const FinishedResults& second) {
  if (!command.plans.empty()) return std::vector<PlanPair>{{command.plans[0], command.plans[1]}};
  const std::vector<std::string> plans = plans_of(first.results);
  const std::vector<std::string> others = plans_of(second.results);
  std::vector<PlanPair> out;
  if (command.files.size() == 1) {
    const bool dense = std::find(plans.begin(), plans.end(), "dense") != plans.end();
    const std::string base = dense ? "dense" : plans.empty() ? std::string() : plans.front();
    for (const std::string& plan : plans) {
      if (plan != base) out.emplace_back(base, plan);
    }
  } else {
    for (const std::string& plan : plans) {
      if (std::find(others.begin(), others.end(), plan) != others.end()) out.emplace_back(plan, plan);
    }
  }
  if (!out.empty()) return out;
  return fail(ErrorCode::kInvalidArgument, "{}: name two plans with --plans",
              command.files.size() == 1 ? "the file has one plan alone" : "no plan is in both files");
}

std::string signed_percent(double value) { return fmt::format("{:+.1f}", value * 100); }

void print_pair(const Console& console, const CompareCommand& command, const PlanPair& plans,
                const std::vector<PairedCell>& cells) {
  console.print("{} ({})  ->  {} ({})\n", plans.first, command.files.front(), plans.second, command.files.back());
  TextTable table({{"task"},
                   {"length", true},
                   {"prompts", true},
                   {"first %", true},
                   {"second %", true},
                   {"difference  95% interval", true},
                   {"better", true},
                   {"worse", true},
                   {"KL difference", true}});
  for (const PairedCell& cell : cells) {
    table.add({cell.task, fmt::format("{}", cell.length), fmt::format("{}", cell.prompts),
               fmt::format("{:.1f}", cell.first * 100), fmt::format("{:.1f}", cell.second * 100),
               fmt::format("{}  {:>6}..{:<6}", signed_percent(cell.difference.mean),
                           signed_percent(cell.difference.low), signed_percent(cell.difference.high)),
               fmt::format("{}", cell.better), fmt::format("{}", cell.worse),
               cell.kl ? fmt::format("{:+.4f} {:+.4f}..{:+.4f}", cell.kl->mean, cell.kl->low, cell.kl->high) : "-"});
  }
  console.print("{}\n", table.text());
}

Result<int> compare(const Console& console, const CompareCommand& command) {
  LOCI_TRY(const FinishedResults first, read_results(command.files.front()));
  LOCI_TRY(const FinishedResults second, read_results(command.files.back()));
  LOCI_TRY(const std::vector<PlanPair> pairs, choose_plans(command, first, second));
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const PlanPair& plans : pairs) {
    LOCI_TRY(const std::vector<PairedCell> cells,
             compare_results(first.results, plans.first, second.results, plans.second));
    if (!command.json) print_pair(console, command, plans, cells);
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const PairedCell& cell : cells) list.push_back(to_json(cell));
    out.push_back({{"first", plans.first}, {"second", plans.second}, {"cells", std::move(list)}});
  }
  if (command.json) console.write_json(out);
  return kExitOk;
}

}  // namespace

void add_eval_compare(const Command& eval, Choice& choice) {
  auto options = std::make_shared<CompareCommand>();
  const Command command = eval.add_command(
      "compare",
      "Compare results prompt by prompt: the mean difference of the scores in percent points with its 95%\n"
      "interval, how many prompts went better and worse, and how much farther from dense (KL) the second is.\n"
      "With one file each of its plans is compared with dense, with two each plan that is in both. A\n"
      "difference whose interval holds 0 may be chance; of twenty such intervals one misses its value.",
      "  loci eval compare out.json\n"
      "  loci eval compare before.json after.json\n"
      "  loci eval compare out.json --plans store=kv8 store=kv4 --json\n");
  command.add_option("FILE", options->files, "One or two files that 'loci eval --json' wrote")
      .required()
      .words(1, 2)
      .type("");
  command.add_option("--plans", options->plans, "Two plans: of the first file, of the last").words(2).type("PLAN PLAN");
  command.add_flag("--json", options->json, "Print one JSON array");
  set_action(command, choice, options, compare);
}

}  // namespace loci
