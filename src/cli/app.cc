#include "cli/app.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/log.h"
#include "base/spelling.h"
#include "cli/calibrate_command.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/terminal_text.h"

namespace loci {
namespace {

constexpr const char* kParagraph =
    "Loci runs language models over long documents. A MODEL is a name that 'loci pull --list' shows,\n"
    "a GGUF file or a Hugging Face folder.";

constexpr const char* kExamples =
    "Examples:\n"
    "  loci demo                                   find a fact in 32K tokens of a novel\n"
    "  loci chat -m smollm2                        talk to a small model\n"
    "  loci run -m smollm2 -f notes.txt -p 'What is to be done by Friday?'\n"
    "  loci COMMAND --help                         what a command does, with examples\n";

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> out;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) out.push_back(fmt::format("--{}", name));
  }
  return out;
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    out.push_back(command->get_name());
  return out;
}

// The innermost command that the line chose, and its full name.
const CLI::App* chosen_command(const CLI::App& app, std::string& name) {
  const CLI::App* at = &app;
  name = "loci";
  while (!at->get_subcommands().empty()) {
    at = at->get_subcommands().front();
    name += fmt::format(" {}", at->get_name());
  }
  return at;
}

// First argument that nothing on the line accounts for; empty if there is none.
std::string unexpected_argument(const CLI::App& app) {
  const std::vector<std::string> rest = app.remaining(true);
  return rest.empty() ? std::string() : rest.front();
}

std::string usage_message(const CLI::App& app, const CLI::ParseError& error) {
  std::string name;
  const CLI::App* command = chosen_command(app, name);
  const std::string extra = unexpected_argument(app);
  std::string message = error.what();
  std::string guess;  // an end of the sentence
  const bool lacks_command = !command_names(*command).empty();
  if (!extra.empty() && lacks_command && extra[0] != '-') {
    message = fmt::format("unknown command '{}'", extra);
    guess = did_you_mean(extra, command_names(*command));
  } else if (!extra.empty()) {
    message = fmt::format("{} '{}'", extra[0] == '-' ? "unknown option" : "unexpected argument", extra);
    if (extra[0] == '-') guess = did_you_mean(extra.substr(0, extra.find('=')), option_names(*command));
  } else if (lacks_command) {
    message = "a command is needed";
  }
  std::replace(message.begin(), message.end(), '\n', ' ');
  return fmt::format("{}: {}\nTry '{} --help'.", name, terminal_text(message + guess), name);
}

void declare(CLI::App& app, Choice& choice, std::string& log_level) {
  app.name("loci");
  app.formatter(std::make_shared<HelpFormatter>());
  app.footer(kExamples);
  app.set_version_flag("--version", "loci " LOCI_VERSION, "Print the version and leave");
  app.set_help_flag("-h,--help", "Print this text and leave");
  app.add_option("--log-level", log_level, "Log lines on stderr: debug, info, warning, error, off")
      ->default_str("warning")
      ->type_name("LEVEL");
  app.require_subcommand(1);
  add_run(app, choice);
  add_chat(app, choice);
  add_bench(app, choice);
  add_eval(app, choice);
  add_explain(app, choice);
  add_calibrate(app, choice);
  add_tokenize(app, choice);
  add_inspect(app, choice);
  add_methods(app, choice);
  add_plan(app, choice);
  add_pull(app, choice);
  add_doctor(app, choice);
  add_demo(app, choice);
}

// What parsing leaves to do: an exit code if the line is wrong or only asks for help.
std::optional<int> parse(CLI::App& app, const std::vector<std::string>& arguments, const Console& console) {
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // CLI11 takes them from the back
  try {
    app.parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    std::string name;
    const CLI::App* command = chosen_command(app, name);
    const size_t parent = name.rfind(' ');
    console.write(command->help(parent == std::string::npos ? std::string() : name.substr(0, parent)));
    return kExitOk;
  } catch (const CLI::CallForVersion& version) {
    console.print("{}\n", version.what());
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    const std::string message = usage_message(app, error);
    console.note("{}", message);
    if (std::find(arguments.begin(), arguments.end(), "--json") != arguments.end()) {
      console.write_json({{"error", {{"code", "usage"}, {"message", message}}}});
    }
    return kExitUsage;
  }
  return std::nullopt;
}

}  // namespace

CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& paragraph,
                      const std::string& examples) {
  CLI::App* command = parent.add_subcommand(name, paragraph);
  command->footer(fmt::format("Examples:\n{}", examples));
  return command;
}

void require_options(const std::vector<CLI::Option*>& options, size_t least, size_t most) {
  size_t given = 0;
  std::string names;
  for (const CLI::Option* option : options) {
    given += option->count() > 0 ? 1 : 0;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", option->get_name(false, true));
  }
  if (given < least) throw CLI::RequiredError(fmt::format("one of {}", names));
  if (given > most) throw CLI::ArgumentMismatch(fmt::format("only {} of {} may be given", most, names));
}

int run_cli(const std::vector<std::string>& arguments, const Console& console) {
  CLI::App app(kParagraph);
  Choice choice;
  std::string log_level = "warning";
  declare(app, choice, log_level);
  if (const std::optional<int> done = parse(app, arguments, console)) return *done;

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
