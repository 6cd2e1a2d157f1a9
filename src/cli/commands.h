// The subcommands: each add_*() declares one on the command line and, if it is the one chosen, leaves its action
// behind. A command is one file; it talks to include/loci, and to io, text and kernels/cpu/roof where the public API
// has no answer.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/console.h"
#include "cli/parser.h"

namespace loci {

// What the command line asks for.
struct Choice {
  bool json = false;                                  // errors are wanted as JSON too
  std::function<Result<int>(const Console&)> action;  // returns the exit code
};

// To be called when the line has been parsed: a usage error unless `least` to `most` of the options were given.
void require_options(const std::vector<Option>& options, size_t least, size_t most);

// Ties `run(console, *options)` to the subcommand; Options has a member `bool json`. `check` looks at the parsed line
// first.
template <typename Options, typename Run>
void set_action(
    const Command& command, Choice& choice, std::shared_ptr<Options> options, Run run,
    std::function<void()> check = [] {}) {
  command.when_chosen([&choice, options, run, check] {
    check();
    choice.json = options->json;
    choice.action = [options, run](const Console& console) { return run(console, *options); };
  });
}

void add_run(const Command& app, Choice& choice);
void add_chat(const Command& app, Choice& choice);
void add_bench(const Command& app, Choice& choice);
void add_bench_attention(const Command& bench, Choice& choice);
void add_bench_serve(const Command& bench, Choice& choice);
void add_eval(const Command& app, Choice& choice);
void add_serve(const Command& app, Choice& choice);
void add_explain(const Command& app, Choice& choice);
void add_tokenize(const Command& app, Choice& choice);
void add_inspect(const Command& app, Choice& choice);
void add_methods(const Command& app, Choice& choice);
void add_plan(const Command& app, Choice& choice);
void add_pull(const Command& app, Choice& choice);
void add_doctor(const Command& app, Choice& choice);
void add_demo(const Command& app, Choice& choice);

}  // namespace loci
