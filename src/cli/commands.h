// The subcommands: each add_*() declares one on the command line and, if it is the one chosen, leaves its action
// behind. A command is one file; it talks to include/loci, and to io, text and kernels/cpu/roof where the public API
// has no answer.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/console.h"

namespace loci {

// What the command line asks for.
struct Choice {
  bool json = false;                                  // errors are wanted as JSON too
  std::function<Result<int>(const Console&)> action;  // returns the exit code
};

// A subcommand with its paragraph and its examples ("loci NAME ..." lines) below the options.
CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& paragraph,
                      const std::string& examples);

// To be called when the line has been parsed: a usage error unless `least` to `most` of the options were given.
void require_options(const std::vector<CLI::Option*>& options, size_t least, size_t most);

// Ties `run(console, *options)` to the subcommand; Options has a member `bool json`. `check` looks at the parsed line
// first.
template <typename Options, typename Run>
void set_action(
    CLI::App* command, Choice& choice, std::shared_ptr<Options> options, Run run, std::function<void()> check = [] {}) {
  command->callback([command, &choice, options, run, check] {
    if (!command->get_subcommands().empty()) return;  // it has left its own
    check();
    choice.json = options->json;
    choice.action = [options, run](const Console& console) { return run(console, *options); };
  });
}

void add_run(CLI::App& app, Choice& choice);
void add_chat(CLI::App& app, Choice& choice);
void add_bench(CLI::App& app, Choice& choice);
void add_bench_attention(CLI::App& bench, Choice& choice);
void add_eval(CLI::App& app, Choice& choice);
void add_explain(CLI::App& app, Choice& choice);
void add_tokenize(CLI::App& app, Choice& choice);
void add_inspect(CLI::App& app, Choice& choice);
void add_methods(CLI::App& app, Choice& choice);
void add_plan(CLI::App& app, Choice& choice);
void add_pull(CLI::App& app, Choice& choice);
void add_doctor(CLI::App& app, Choice& choice);
void add_demo(CLI::App& app, Choice& choice);

}  // namespace loci
