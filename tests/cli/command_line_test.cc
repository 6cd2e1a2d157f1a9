// Parsing, help, hints, exit codes: everything before a command does its work.
#include "command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace loci {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::vector<std::vector<std::string>>& commands() {
  static const std::vector<std::vector<std::string>> all{{"run"},
                                                         {"chat"},
                                                         {"bench"},
                                                         {"eval"},
                                                         {"eval", "list"},
                                                         {"eval", "compare"},
                                                         {"eval", "perplexity"},
                                                         {"bench", "attention"},
                                                         {"calibrate"},
                                                         {"explain"},
                                                         {"tokenize"},
                                                         {"inspect"},
                                                         {"plan"},
                                                         {"pull"},
                                                         {"doctor"},
                                                         {"demo"},
                                                         {"methods"}};
  return all;
}

TEST(CommandLine, EveryCommandTeachesItself) {
  for (std::vector<std::string> arguments : commands()) {
    arguments.push_back("--help");
    const Outcome outcome = loci_run(arguments);
    EXPECT_EQ(outcome.code, 0) << arguments.front();
    EXPECT_EQ(outcome.err, "");
    EXPECT_THAT(outcome.out, HasSubstr("Usage: loci"));
    EXPECT_THAT(outcome.out, HasSubstr("Examples:\n"));
    EXPECT_THAT(outcome.out, HasSubstr("  loci " + arguments.front()));
    EXPECT_GT(outcome.out.find("Examples:"),
              outcome.out.rfind("--") == std::string::npos ? 0 : outcome.out.find("--help"));
  }
}

TEST(CommandLine, HelpNamesEveryCommandAndNoFolderOfThisMachine) {
  const Outcome outcome = loci_run({"--help"});
  EXPECT_EQ(outcome.code, 0);
  for (const auto& command : commands()) EXPECT_THAT(outcome.out, HasSubstr("\n  " + command.front()));
  for (std::vector<std::string> arguments : commands()) {
    arguments.push_back("--help");
    EXPECT_EQ(loci_run(arguments).out.find(LOCI_SOURCE_DIR), std::string::npos) << arguments.front();
  }
}

TEST(CommandLine, Version) {
  const Outcome outcome = loci_run({"--version"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out, ::testing::MatchesRegex("loci [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST(CommandLine, NothingAtAllIsAUsageError) {
  const Outcome outcome = loci_run({});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("a command is needed"));
}

TEST(CommandLine, MisspelledCommandGetsAHint) {
  const Outcome outcome = loci_run({"tokenise", "-m", "needle"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("unknown command 'tokenise'; did you mean 'tokenize'?"));
}

TEST(CommandLine, MisspelledOptionGetsAHint) {
  const Outcome outcome = loci_run({"run", "-m", "needle", "-p", "x", "--tepm", "1"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("loci run: unknown option '--tepm'; did you mean '--temp'?"));
  EXPECT_THAT(outcome.err, HasSubstr("loci run --help"));
  const Outcome prefix = loci_run({"plan", "-m", "needle", "--atten=dense"});
  EXPECT_THAT(prefix.err, HasSubstr("did you mean '--attention'?"));
}

TEST(CommandLine, UnlikeAnyOptionGetsNoHint) {
  const Outcome outcome = loci_run({"run", "-m", "needle", "-p", "x", "--xyzzy-plugh"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("unknown option '--xyzzy-plugh'\n"));
}

TEST(CommandLine, UsageErrorsAreJsonTooIfAskedFor) {
  const Outcome outcome = loci_run({"plan", "--json", "--nonsense"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.json()["error"]["code"], "usage");
}

TEST(CommandLine, OptionsThatMustBeThere) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"run", "-p", "x"},            // no model
                                             {"run", "-m", "needle"},       // neither document nor question
                                             {"tokenize", "-m", "needle"},  // no input
                                             {"tokenize", "-m", "needle", "-p", "x", "-f", "y"},  // two inputs
                                             {"eval"},                                            // no measure
                                             {"eval", "--suite", "ruler"},                        // no model
                                             {"eval", "compare"},                                 // no file
                                             {"eval", "perplexity", "-m", "needle"},              // no text
                                             {"pull"},                                            // no model
                                             {"run", "-m"}}) {
    const Outcome outcome = loci_run(arguments);
    EXPECT_EQ(outcome.code, 2) << arguments.back();
    EXPECT_THAT(outcome.err, StartsWith("loci"));
    EXPECT_THAT(outcome.err, HasSubstr("--help"));
  }
}

TEST(CommandLine, ValuesOutsideTheirRangeAreUsageErrors) {
  for (const std::vector<std::string>& extra : std::vector<std::vector<std::string>>{{"-n", "0"},
                                                                                     {"-n", "-1"},
                                                                                     {"-n", "many"},
                                                                                     {"-n", "99999999999999999999"},
                                                                                     {"--temp", "-0.5"},
                                                                                     {"--top-p", "1.5"},
                                                                                     {"--chunk", "0"},
                                                                                     {"--threads", "-1"},
                                                                                     {"--isa", "mmx"},
                                                                                     {"--activations", "int3"},
                                                                                     {"--ctx", "-5"},
                                                                                     {"--memory-limit", "lots"}}) {
    std::vector<std::string> arguments{"run", "-m", "needle", "-p", "x"};
    arguments.insert(arguments.end(), extra.begin(), extra.end());
    const Outcome outcome = loci_run(arguments);
    EXPECT_EQ(outcome.code, 2) << extra[0] << ' ' << extra[1] << ": " << outcome.err;
  }
}

TEST(CommandLine, BadSizeSaysWhatASizeIs) {
  const Outcome outcome = loci_run({"plan", "-m", "needle", "--memory-limit", "lots"});
  EXPECT_THAT(outcome.err, HasSubstr("'lots' is not a size"));
  EXPECT_THAT(outcome.err, HasSubstr("512M"));
}

TEST(CommandLine, ControlCharactersInArgumentsDoNotReachTheTerminal) {
  const Outcome outcome = loci_run({"run", "-m", "needle", "--\x1b[31mred"});
  EXPECT_EQ(outcome.err.find('\x1b'), std::string::npos);
  const Outcome model = loci_run({"inspect", "-m", "no\x1b[2Jsuch"});
  EXPECT_EQ(model.code, 1);
  EXPECT_EQ(model.err.find('\x1b'), std::string::npos);
}

TEST(CommandLine, UnknownModelListsTheKnownNames) {
  const Outcome outcome = loci_run({"inspect", "-m", "nosuchmodel", "--json"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, StartsWith("loci: "));
  EXPECT_THAT(outcome.err, HasSubstr("smollm2"));
  EXPECT_EQ(outcome.json()["error"]["code"], "not found");
}

TEST(CommandLine, BadLogLevelIsAnError) {
  const Outcome outcome = loci_run({"--log-level", "loud", "pull", "--list"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("'loud'"));
}

// A full disk: the text is gone, so the command has failed.
TEST(CommandLine, OutputThatCannotBeWrittenIsAnError) {
  std::FILE* full = std::fopen("/dev/full", "w");
  ASSERT_NE(full, nullptr);
  Interrupts interrupts;
  Console console{stdin, full, std::tmpfile(), &interrupts};
  EXPECT_EQ(run_cli({"pull", "--list"}, console), 1);
  EXPECT_THAT(content_of(console.err), HasSubstr("cannot write the output"));
  std::fclose(full);
  std::fclose(console.err);
}

}  // namespace
}  // namespace loci
