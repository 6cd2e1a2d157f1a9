// What `loci eval` is made of: the command itself runs suites; its subcommands measure other things.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/commands.h"

namespace loci {

void add_eval_list(CLI::App& eval, Choice& choice);
void add_eval_compare(CLI::App& eval, Choice& choice);
void add_eval_perplexity(CLI::App& eval, Choice& choice);

}  // namespace loci
