// loci methods: what a plan may name.
#include <memory>
#include <nlohmann/json.hpp>

#include "attention/registry/describe.h"
#include "base/spelling.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "cli/terminal_text.h"

namespace loci {
namespace {

struct MethodsCommand {
  std::string name;
  bool json = false;
};

std::string overview(const Registry& registry) {
  TextTable methods({{"method"}, {"stage"}, {"parameters"}, {"what it does"}});
  for (const Method* method : registry.methods()) {
    methods.add(
        {std::string(method->name), where_it_answers(*method), defaults_of(*method), std::string(method->summary)});
  }
  TextTable presets({{"preset"}, {"stands for"}, {"what for"}});
  for (const Preset& p : registry.presets()) {
    presets.add({std::string(p.name), std::string(p.plan), std::string(p.summary)});
  }
  return methods.text() + (presets.empty() ? std::string() : "\n" + presets.text());
}

Result<int> methods(const Console& console, const MethodsCommand& command) {
  const Registry& registry = built_in_registry();
  if (command.name.empty()) {
    if (command.json) {
      console.write_json(registry_json(registry));
    } else {
      console.write(overview(registry));
    }
    return kExitOk;
  }
  const Method* method = registry.find(command.name);
  if (method == nullptr) {
    const std::string guess = did_you_mean(command.name, registry.names());
    return fail(ErrorCode::kNotFound, "there is no method '{}'{}", terminal_text(command.name),
                guess.empty() ? "; 'loci methods' lists what there is" : guess);
  }
  if (command.json) {
    console.write_json(method_json(registry, *method));
  } else {
    console.write(method_page(registry, *method));
  }
  return kExitOk;
}

}  // namespace

void add_methods(const Command& app, Choice& choice) {
  auto options = std::make_shared<MethodsCommand>();
  const Command command = app.add_command(
      "methods",
      "List the attention methods that --attention may name. A plan answers four questions about the\n"
      "memory of a model: which entries are kept (retain), how they are stored (store), which of them a\n"
      "query reads (select), how what it read is combined (mix). Its clauses stand apart by ';':\n"
      "STAGE=METHOD(PARAMETER=VALUE,...), in the stage select with prefill: or decode: in front, and with\n"
      "a range of layers and KV heads behind if it is not for all: @4-27, @0,2-5:h3. What a plan does not\n"
      "mention is dense. With NAME: the method's parameters with their ranges, its paper, what it does\n"
      "not compose with and why.",
      "  loci methods\n"
      "  loci methods kv4\n"
      "  loci methods --json\n"
      "  loci run -m smollm2 -f notes.txt -p 'Who spoke?' --attention 'store=kv4,kv8@0-1'\n");
  command.add_option("NAME", options->name, "A method").type("");
  command.add_flag("--json", options->json, "Print one JSON object: the methods and presets, or the method NAME");
  set_action(command, choice, options, methods);
}

}  // namespace loci
