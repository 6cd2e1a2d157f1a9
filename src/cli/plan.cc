// loci plan: what a model, a context and a plan need, byte for byte, before anything is loaded.
#include <memory>
#include <nlohmann/json.hpp>

#include "base/quantity.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/table.h"

namespace loci {
namespace {

struct PlanCommand {
  ModelOptions model;
  uint32_t batch = 1;
  bool json = false;
};

nlohmann::ordered_json plan_json(const MemoryPlan& plan) {
  return {{"weights_bytes", plan.weights_bytes},
          {"kv_bytes", plan.kv_bytes},
          {"state_bytes", plan.state_bytes},
          {"scratch_bytes", plan.scratch_bytes},
          {"total_bytes", plan.total_bytes},
          {"available_bytes", plan.available_bytes},
          {"fits", plan.fits}};
}

std::string plan_table(const MemoryPlan& plan) {
  TextTable table({{"part"}, {"bytes", true}, {"", true}});
  const auto add = [&](const char* part, uint64_t bytes) {
    table.add({part, fmt::format("{}", bytes), format_bytes(bytes)});
  };
  add("weights", plan.weights_bytes);
  add("cache pages", plan.kv_bytes);
  add("method state", plan.state_bytes);
  add("scratch", plan.scratch_bytes);
  add("total", plan.total_bytes);
  add("available", plan.available_bytes);
  return table.text();
}

Result<int> plan(const Console& console, const PlanCommand& command) {
  LOCI_TRY(const std::filesystem::path path, find_model(command.model.model, console));
  EngineOptions options = engine_options(command.model);
  options.batch = command.batch;
  LOCI_TRY(const MemoryPlan result, Engine::plan(path.string(), options));
  if (command.json) {
    console.write_json(plan_json(result));
  } else {
    console.write(plan_table(result));
    console.print("{}\n", result.fits
                              ? "fits"
                              : "does not fit: lower --ctx or --batch, or store the cache in fewer bits (store=kv4)");
  }
  return kExitOk;
}

}  // namespace

void add_plan(const Command& app, Choice& choice) {
  auto options = std::make_shared<PlanCommand>();
  const Command command =
      app.add_command("plan",
                      "Compute the memory that a model, a context and a plan need, byte for byte, from the file's\n"
                      "header alone: nothing is loaded. The exit code is 0 whether it fits or not; read \"fits\".",
                      "  loci plan -m smollm2 --ctx 8192\n"
                      "  loci plan -m needle --ctx 131072 --batch 4 --attention store=kv4 --json\n");
  add_model_options(command, options->model);
  command.add_option("--batch", options->batch, "Sequences alive at once").shows_default().range(1u, 65536u).type("B");
  command.add_flag("--json", options->json, "Print one JSON object");
  set_action(command, choice, options, plan);
}

}  // namespace loci
