// What `loci eval` is made of: the command itself runs suites; its subcommands measure other things.
#pragma once

#include "cli/commands.h"

namespace loci {

void add_eval_list(const Command& eval, Choice& choice);
void add_eval_compare(const Command& eval, Choice& choice);
void add_eval_pareto(const Command& eval, Choice& choice);
void add_eval_perplexity(const Command& eval, Choice& choice);

}  // namespace loci
