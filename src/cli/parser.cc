#include "cli/parser.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <utility>

#include "base/spelling.h"
#include "cli/help.h"
#include "cli/terminal_text.h"

namespace loci {
namespace {

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
  name = app.get_name();
  while (!at->get_subcommands().empty()) {
    at = at->get_subcommands().front();
    name += fmt::format(" {}", at->get_name());
  }
  return at;
}

std::string help_text(const CLI::App& app) {
  std::string name;
  const CLI::App* command = chosen_command(app, name);
  const size_t parent = name.rfind(' ');
  return command->help(parent == std::string::npos ? std::string() : name.substr(0, parent));
}

// First argument that nothing on the line accounts for; empty if there is none.
std::string unexpected_argument(const CLI::App& app) {
  const std::vector<std::string> rest = app.remaining(true);
  return rest.empty() ? std::string() : rest.front();
}

std::string usage_message(const CLI::App& app, std::string message) {
  std::string name;
  const CLI::App* command = chosen_command(app, name);
  const std::string extra = unexpected_argument(app);
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

}  // namespace

Option Option::type(const char* name) const {
  option_->type_name(name);
  return *this;
}

Option Option::group(const char* heading) const {
  option_->group(heading);
  return *this;
}

Option Option::shows_default() const {
  option_->capture_default_str();
  return *this;
}

Option Option::default_text(const char* text) const {
  option_->default_str(text);
  return *this;
}

Option Option::required(bool needed) const {
  option_->required(needed);
  return *this;
}

Option Option::range(int least, int most) const {
  option_->check(CLI::Range(least, most));
  return *this;
}

Option Option::range(uint32_t least, uint32_t most) const {
  option_->check(CLI::Range(least, most));
  return *this;
}

Option Option::range(double least, double most) const {
  option_->check(CLI::Range(least, most));
  return *this;
}

Option Option::not_negative() const {
  option_->check(CLI::NonNegativeNumber);
  return *this;
}

Option Option::one_of(const std::vector<std::string>& words) const {
  option_->check(CLI::IsMember(words));
  return *this;
}

Option Option::words(int count) const {
  option_->expected(count);
  return *this;
}

Option Option::words(int least, int most) const {
  option_->expected(least, most);
  return *this;
}

Option Option::one_word_each() const {
  option_->allow_extra_args(false);
  return *this;
}

Option Option::separator(char between) const {
  option_->delimiter(between);
  return *this;
}

bool Option::given() const { return option_->count() > 0; }

std::string Option::name() const { return option_->get_name(false, true); }

Command Command::add_command(const char* name, const char* paragraph, const char* examples) const {
  CLI::App* command = app_->add_subcommand(name, paragraph);
  command->footer(fmt::format("Examples:\n{}", examples));
  return Command(*command);
}

void Command::works_alone() const { app_->require_subcommand(0, 1); }

template <typename T>
Option Command::add_option(const char* names, T& value, const char* help) const {
  return Option(*app_->add_option(names, value, help));
}
template Option Command::add_option(const char*, std::string&, const char*) const;
template Option Command::add_option(const char*, int&, const char*) const;
template Option Command::add_option(const char*, uint32_t&, const char*) const;
template Option Command::add_option(const char*, uint64_t&, const char*) const;
template Option Command::add_option(const char*, float&, const char*) const;
template Option Command::add_option(const char*, double&, const char*) const;
template Option Command::add_option(const char*, std::vector<std::string>&, const char*) const;
template Option Command::add_option(const char*, std::vector<uint32_t>&, const char*) const;

Option Command::add_option_function(const char* names, std::function<void(const std::string&)> take,
                                    const char* help) const {
  return Option(*app_->add_option_function<std::string>(names, take, help));
}

Option Command::add_flag(const char* names, bool& value, const char* help) const {
  return Option(*app_->add_flag(names, value, help));
}

Option Command::option(const char* name) const { return Option(*app_->get_option(name)); }

void Command::when_chosen(std::function<void()> action) const {
  app_->callback([app = app_, action = std::move(action)] {
    if (app->get_subcommands().empty()) action();
  });
}

Parser::Parser(const char* name, const char* paragraph, const char* examples, const char* version)
    : app_(std::make_unique<CLI::App>(paragraph, name)) {
  app_->formatter(std::make_shared<HelpFormatter>());
  app_->footer(fmt::format("Examples:\n{}", examples));
  app_->set_version_flag("--version", version, "Print the version and leave");
  app_->set_help_flag("-h,--help", "Print this text and leave");
  app_->require_subcommand(1);
}

Parser::~Parser() = default;

Command Parser::root() const { return Command(*app_); }

ParsedLine Parser::parse(const std::vector<std::string>& arguments) {
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // CLI11 takes them from the back
  try {
    app_->parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    return {ParsedLine::Kind::kText, help_text(*app_)};
  } catch (const CLI::CallForVersion& version) {
    return {ParsedLine::Kind::kText, fmt::format("{}\n", version.what())};
  } catch (const CLI::ParseError& error) {
    return {ParsedLine::Kind::kUsageError, usage_message(*app_, error.what())};
  } catch (const UsageError& error) {
    return {ParsedLine::Kind::kUsageError, usage_message(*app_, error.what())};
  }
  return {};
}

}  // namespace loci
