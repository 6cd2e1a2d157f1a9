// loci eval list: what can be asked.
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/eval_commands.h"
#include "cli/table.h"
#include "eval/suite.h"

namespace loci {
namespace {

struct ListCommand {
  bool json = false;
};

Result<int> list(const Console& console, const ListCommand& command) {
  if (command.json) {
    nlohmann::ordered_json out = nlohmann::ordered_json::array();
    for (const Task& task : all_tasks()) {
      out.push_back({{"suite", task.suite},
                     {"task", task.name},
                     {"measures", task.measures},
                     {"score", to_string(task.scorer)},
                     {"answer_tokens", task.answer_tokens},
                     {"needs", task.needs},
                     {"source", task.source}});
    }
    console.write_json(out);
    return kExitOk;
  }
  TextTable table({{"suite"}, {"task"}, {"what it asks for"}, {"score"}, {"needs"}, {"source and licence"}});
  for (const Task& task : all_tasks()) {
    table.add({std::string(task.suite), std::string(task.name), std::string(task.measures), to_string(task.scorer),
               task.needs.empty() ? "-" : std::string(task.needs), std::string(task.source)});
  }
  console.write(table.text());
  return kExitOk;
}

}  // namespace

void add_eval_list(const Command& eval, Choice& choice) {
  auto options = std::make_shared<ListCommand>();
  const Command command = eval.add_command(
      "list", "List the suites and their tasks: what each asks for, how it is scored, where it is from.",
      "  loci eval list\n"
      "  loci eval list --json\n");
  command.add_flag("--json", options->json, "Print one JSON array");
  set_action(command, choice, options, list);
}

}  // namespace loci
