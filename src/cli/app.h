// The command line of `loci`.
//
// Exit codes: 0 done, 1 an error (one line "loci: ..." on stderr, and {"error": {"code", "message"}} on stdout with
// --json), 2 a command line that has no meaning, 130 interrupted.
#pragma once

#include <string>
#include <vector>

#include "cli/console.h"

namespace loci {

// `arguments` without the program's name.
int run_cli(const std::vector<std::string>& arguments, const Console& console);

}  // namespace loci
