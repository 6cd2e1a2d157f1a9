// loci eval pareto: what quality costs, from result files.
#include <algorithm>
#include <memory>

#include "base/quantity.h"
#include "cli/eval_commands.h"
#include "cli/table.h"
#include "eval/pareto.h"

namespace loci {
namespace {

namespace fs = std::filesystem;

struct ParetoCommand {
  std::vector<std::string> sources;
  std::string report_file;
  bool markdown = false;
  bool json = false;
};

// The .json files of a folder and of those in it, by name.
Result<std::vector<fs::path>> files_of(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->is_regular_file(error) && at->path().extension() == ".json") out.push_back(at->path());
  }
  if (error) return fail(ErrorCode::kIo, "cannot read '{}': {}", folder.string(), error.message());
  if (out.empty()) return fail(ErrorCode::kNotFound, "'{}' holds no .json file", folder.string());
  std::sort(out.begin(), out.end());
  return out;
}

// A file that is named must hold results; in a folder others may stand beside them.
Result<std::vector<NamedResults>> read_sources(const ParetoCommand& command, const Console& console) {
  std::vector<NamedResults> out;
  for (const std::string& source : command.sources) {
    std::error_code error;
    if (!fs::is_directory(source, error)) {
      LOCI_TRY(FinishedResults results, read_pareto_results(source));
      out.push_back({source, std::move(results)});
      continue;
    }
    LOCI_TRY(const std::vector<fs::path> files, files_of(source));
    const size_t before = out.size();
    for (const fs::path& file : files) {
      Result<FinishedResults> results = read_pareto_results(file);
      if (results.ok()) {
        out.push_back({file.string(), std::move(*results)});
      } else {
        console.note("left out: {}", results.error().message);
      }
    }
    if (out.size() == before) return fail(ErrorCode::kNotFound, "no file of '{}' holds evaluation results", source);
  }
  return out;
}

void print_picture(const Console& console, const ParetoPicture& picture) {
  for (const ParetoGroup& group : picture.groups) {
    const auto model = group.settings.find("model");
    const bool named = model != group.settings.end() && model->is_string();
    console.print("{}, {} tokens, {} prompts of {} task(s)\n", named ? model->get<std::string>() : "unnamed model",
                  group.length, group.prompts, group.tasks.size());
    TextTable table({{"plan"},
                     {"frontier"},
                     {"score %  95% interval", true},
                     {"KL", true},
                     {"cache", true},
                     {"seconds an answer", true},
                     {"ms a token", true}});
    for (const ParetoDot& dot : group.dots) {
      table.add(
          {dot.plan, dot.best ? "yes" : "",
           fmt::format("{:.1f}  {:>5.1f}-{:<5.1f}", dot.score.mean * 100, dot.score.low * 100, dot.score.high * 100),
           dot.kl ? fmt::format("{:.4f}", *dot.kl) : "-", format_bytes(static_cast<uint64_t>(dot.kv_bytes)),
           fmt::format("{:.2f}", dot.seconds), fmt::format("{:.2f}", dot.token_ms)});
    }
    console.print("{}\n", table.text());
  }
}

Result<int> pareto(const Console& console, const ParetoCommand& command) {
  LOCI_TRY(const std::vector<NamedResults> files, read_sources(command, console));
  LOCI_TRY(const ParetoPicture picture, pareto_picture(files));
  if (!command.report_file.empty()) LOCI_CHECK(write_whole(command.report_file, pareto_page(picture)));
  for (const std::string& note : picture.notes) console.note("{}", note);
  if (command.json) {
    console.write_json(to_json(picture));
  } else if (command.markdown) {
    console.write(pareto_markdown(picture));
  } else {
    print_picture(console, picture);
  }
  return kExitOk;
}

}  // namespace

void add_eval_pareto(const Command& eval, Choice& choice) {
  auto options = std::make_shared<ParetoCommand>();
  const Command command = eval.add_command(
      "pareto",
      "Set accuracy against cache memory and time: one dot a plan for each model, machine and length, over the\n"
      "prompts that all plans there have answered. The frontier are the plans that no other one beats: as good\n"
      "in score, bytes of cache and seconds an answer (prompt and all its tokens), and better in one of them.\n"
      "Times compare only if they were taken on an idle machine.",
      "  loci eval pareto out.json --report pareto.html\n"
      "  loci eval pareto bench/results/leaderboard --markdown\n"
      "  loci eval pareto before.json after.json --json\n");
  command
      .add_option("RESULTS", options->sources,
                  "Files that 'loci eval --json' wrote, or folders to look for them in, one\n"
                  "level and deeper; a folder's other files are left out with a note")
      .required()
      .words(1, 4096)
      .type("");
  command.add_option("--report", options->report_file, "Write a page to look at").type("OUT.html");
  command.add_flag("--markdown", options->markdown, "Print Markdown: a table for each model and length");
  command.add_flag("--json", options->json, "Print one JSON object: groups, each with its dots; notes");
  set_action(command, choice, options, pareto);
}

}  // namespace loci
