// loci pull: fetch a model into the user's cache folder.
#include <memory>
#include <nlohmann/json.hpp>

#include "base/quantity.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/table.h"

namespace loci {
namespace {

struct PullCommand {
  std::string model;
  std::string sha256;
  std::string cache_dir;
  bool list = false;
  bool refresh = false;
  bool json = false;
};

Result<int> list_models(const Console& console, bool json) {
  nlohmann::ordered_json array = nlohmann::ordered_json::array();
  TextTable table({{"name"}, {"size", true}, {"licence"}, {"what it is"}});
  for (const KnownModel& model : known_models()) {
    array.push_back({{"name", model.name},
                     {"bytes", model.bytes},
                     {"licence", model.licence},
                     {"description", model.description},
                     {"sha256", model.sha256}});
    table.add({std::string(model.name), format_bytes(model.bytes), std::string(model.licence),
               std::string(model.description)});
  }
  if (json) {
    console.write_json(array);
  } else {
    console.write(table.text());
  }
  return kExitOk;
}

Result<int> pull(const Console& console, const PullCommand& command) {
  if (command.list) return list_models(console, command.json);
  StoreOptions options = store_options(console);
  options.allow_download = true;
  options.cache_dir = command.cache_dir;
  options.sha256 = command.sha256;
  options.refresh = command.refresh;
  LOCI_TRY(const std::filesystem::path path, resolve_model(command.model, options));
  options.on_progress = {};  // clears the bar
  if (command.json) {
    console.write_json({{"path", path.string()}});
  } else {
    console.print("{}\n", path.string());
  }
  return kExitOk;
}

}  // namespace

void add_pull(const Command& app, Choice& choice) {
  auto options = std::make_shared<PullCommand>();
  const Command command =
      app.add_command("pull",
                      "Fetch a model into the cache folder and print its path. An interrupted download goes on where\n"
                      "it stopped, and a file appears in the cache only when it is whole and its checksum is right.\n"
                      "MODEL is a name that --list shows, hf:ORG/REPO/FILE, or an http(s) URL.",
                      "  loci pull --list\n"
                      "  loci pull smollm2\n"
                      "  loci pull hf:ORG/REPO/model-q8_0.gguf\n"
                      "  loci pull https://example.org/model.gguf --sha256 9f86d081884c7d65...\n");
  const Option model = command.add_option("MODEL", options->model, "A known name, hf:ORG/REPO/FILE, or a URL").type("");
  const Option list = command.add_flag("--list", options->list, "List the known names and leave");
  command.add_option("--sha256", options->sha256, "Digest that the file must have (hex)").type("HEX");
  command.add_option("--cache-dir", options->cache_dir, "Folder to keep models in; default: ~/.cache/loci").type("DIR");
  command.add_flag("--refresh", options->refresh, "Fetch again what the cache has already");
  command.add_flag("--json", options->json, "Print {\"path\"}, or an array with --list");
  set_action(command, choice, options, pull, [model, list] { require_options({model, list}, 1, 1); });
}

}  // namespace loci
