#include "cli/help.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace loci {
namespace {

// The first sentence of a paragraph, on one line.
std::string first_sentence(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  const size_t end = std::min(text.find(". "), text.find(": "));
  return text.substr(0, end == std::string::npos ? text.find_last_of('.') : end);
}

}  // namespace

std::string HelpFormatter::make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const {
  return fmt::format("{}\n{}\n{}{}{}\n{}", make_usage(app, std::move(name)), app->get_description(),
                     make_positionals(app), options_by_group(app), make_subcommands(app, mode), make_footer(app));
}

std::string HelpFormatter::options_by_group(const CLI::App* app) const {
  std::string out;
  for (const std::string& group : app->get_groups()) {
    const std::vector<const CLI::Option*> options = app->get_options(
        [&](const CLI::Option* option) { return option->get_group() == group && option->nonpositional(); });
    if (!group.empty() && !options.empty()) out += make_group(group, false, options);
  }
  return out;
}

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
  // What a validator adds to the type ("N:INT in [0 - 9]") is for its error message.
  const std::string type = option->get_type_name();
  std::string out = type.empty() ? std::string() : fmt::format(" {}", type.substr(0, type.find(':')));
  if (!option->get_default_str().empty()) out += fmt::format(" ({})", option->get_default_str());
  return out;
}

std::string HelpFormatter::make_subcommands(const CLI::App* app, CLI::AppFormatMode) const {
  const auto commands = app->get_subcommands([](const CLI::App* command) { return !command->get_name().empty(); });
  if (commands.empty()) return {};
  std::string out = "\nCommands:\n";
  for (const CLI::App* command : commands) {
    out += fmt::format("  {:<12}{}\n", command->get_name(), first_sentence(command->get_description()));
  }
  return out;
}

}  // namespace loci
