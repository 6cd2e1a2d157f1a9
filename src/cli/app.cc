#include "cli/app.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/log.h"
#include "cli/calibrate_command.h"
#include "cli/commands.h"
#include "cli/parser.h"

namespace loci {
namespace {

constexpr const char* kParagraph =
    "Loci runs language models over long documents. A MODEL is a name that 'loci pull --list' shows,\n"
    "a GGUF file or a Hugging Face folder.";

constexpr const char* kExamples =
    "  loci demo                                   find a fact in 32K tokens of a novel\n"
    "  loci chat -m smollm2                        talk to a small model\n"
    "  loci run -m smollm2 -f notes.txt -p 'What is to be done by Friday?'\n"
    "  loci serve -m smollm2                       an OpenAI-protocol server on 127.0.0.1:8080\n"
    "  loci COMMAND --help                         what a command does, with examples\n";

void declare(const Command& app, Choice& choice, std::string& log_level) {
  app.add_option("--log-level", log_level, "Log lines on stderr: debug, info, warning, error, off")
      .default_text("warning")
      .type("LEVEL");
  add_run(app, choice);
  add_chat(app, choice);
  add_serve(app, choice);
  add_bench(app, choice);
  add_eval(app, choice);
  add_explain(app, choice);
  add_calibrate(app, choice);
  add_quantize(app, choice);
  add_tokenize(app, choice);
  add_inspect(app, choice);
  add_methods(app, choice);
  add_plan(app, choice);
  add_pull(app, choice);
  add_doctor(app, choice);
  add_demo(app, choice);
}

// The exit code of a line that leaves nothing to do: it is wrong or asks only for a text.
std::optional<int> answer(const ParsedLine& line, const std::vector<std::string>& arguments, const Console& console) {
  switch (line.kind) {
    case ParsedLine::Kind::kCommand:
      return std::nullopt;
    case ParsedLine::Kind::kText:
      console.write(line.text);
      return kExitOk;
    case ParsedLine::Kind::kUsageError:
      break;
  }
  console.note("{}", line.text);
  if (std::find(arguments.begin(), arguments.end(), "--json") != arguments.end()) {
    console.write_json({{"error", {{"code", "usage"}, {"message", line.text}}}});
  }
  return kExitUsage;
}

}  // namespace

void require_options(const std::vector<Option>& options, size_t least, size_t most) {
  size_t given = 0;
  std::string names;
  for (const Option& option : options) {
    given += option.given() ? 1 : 0;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", option.name());
  }
  if (given < least) throw UsageError(fmt::format("one of {} is required", names));
  if (given > most) throw UsageError(fmt::format("only {} of {} may be given", most, names));
}

int run_cli(const std::vector<std::string>& arguments, const Console& console) {
  Parser parser("loci", kParagraph, kExamples, "loci " LOCI_VERSION);
  Choice choice;
  std::string log_level = "warning";
  declare(parser.root(), choice, log_level);
  if (const std::optional<int> done = answer(parser.parse(arguments), arguments, console)) return *done;

  const Result<LogLevel> level = parse_log_level(log_level);
  if (!level.ok()) return console.report(level.error(), choice.json);
  open_log(*level);

  const Result<int> result = choice.action(console);
  const int code = result.ok() ? *result : console.report(result.error(), choice.json);
  if (std::fflush(console.out) != 0 || std::ferror(console.out) != 0) {
    console.note("loci: cannot write the output: {}", std::strerror(errno));
    return code == kExitOk ? kExitError : code;
  }
  return code;
}

}  // namespace loci
