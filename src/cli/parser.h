// How a command declares itself: handles for commands and options around CLI11. Its headers take three seconds of every
// file that reads them, so parser.cc and help.cc alone do.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace loci {

// A command line that has no meaning. May be thrown by what Command calls while it reads the line.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// One option, as long as its parser lives. Every call returns the option again.
class Option {
 public:
  explicit Option(CLI::Option& option) : option_(&option) {}

  // In --help: what stands for the value ("-n N"), and the heading to stand under.
  Option type(const char* name) const;
  Option group(const char* heading) const;
  // In --help, in brackets behind the type: what the variable holds now, or a text.
  Option shows_default() const;
  Option default_text(const char* text) const;

  Option required(bool needed = true) const;
  Option range(int least, int most) const;
  Option range(uint32_t least, uint32_t most) const;
  Option range(double least, double most) const;
  Option not_negative() const;
  Option one_of(const std::vector<std::string>& words) const;

  // How many words follow; an option whose variable is a vector takes all there are unless told otherwise.
  Option words(int count) const;
  Option words(int least, int most) const;
  Option one_word_each() const;          // one word, but the option may be given again
  Option separator(char between) const;  // also several values in one word

  // To be asked when the line has been read.
  bool given() const;
  std::string name() const;

 private:
  CLI::Option* option_;
};

// One command, as long as its parser lives.
class Command {
 public:
  explicit Command(CLI::App& app) : app_(&app) {}

  // A command below this one, with its paragraph and its examples ("loci NAME ..." lines) below the options.
  Command add_command(const char* name, const char* paragraph, const char* examples) const;
  // By default the line must name one of the commands below if there is any; now it need not.
  void works_alone() const;

  // "-n,--max-tokens", or "NAME" for a word without an option. T: std::string, int, uint32_t, uint64_t, float, double,
  // or a vector of std::string or uint32_t.
  template <typename T>
  Option add_option(const char* names, T& value, const char* help) const;
  // Hands the word to `take`, which may throw a UsageError.
  Option add_option_function(const char* names, std::function<void(const std::string&)> take, const char* help) const;
  Option add_flag(const char* names, bool& value, const char* help) const;
  Option option(const char* name) const;

  // Calls `action` if the line has been read and ends in this command. It may throw a UsageError.
  void when_chosen(std::function<void()> action) const;

 private:
  CLI::App* app_;
};

// What a line asks for besides the action of a command.
struct ParsedLine {
  enum class Kind { kCommand, kText, kUsageError };
  Kind kind = Kind::kCommand;
  std::string text;  // the help or the version that it asks for, or what is wrong with it
};

class Parser {
 public:
  // `version`: the line that --version prints.
  Parser(const char* name, const char* paragraph, const char* examples, const char* version);
  ~Parser();

  Command root() const;
  // Fills the variables that options were declared with. `arguments` without the program's name; once.
  ParsedLine parse(const std::vector<std::string>& arguments);

 private:
  std::unique_ptr<CLI::App> app_;
};

}  // namespace loci
