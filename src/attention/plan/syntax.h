// The form of a plan, before anybody asks what its words mean:
//
//   plan    = clause { ";" clause }
//   clause  = stage "=" answer { "," answer }  |  call { "+" call } [ scope ]
//   answer  = [ phase ":" ] call { "+" call } [ scope ]
//   call    = name [ "(" [ argument { "," argument } ] ")" ]
//   argument = [ name "=" ] value                   only the first may go without its name
//   scope   = "@" [ numbers ] [ ":h" numbers ]      layers, then heads
//   numbers = range { "," range }                   a comma before a digit goes on with the numbers
//   range   = number [ "-" [ number ] ]
//
// Blanks may stand between the parts. Text from outside: bounded, and every error says where it is wrong.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "attention/plan/scope.h"
#include "base/error.h"

namespace loci {

struct ArgumentText {
  std::string name;  // empty: the first parameter
  std::string value;
};

struct CallText {
  std::string name;
  std::vector<ArgumentText> arguments;
};

struct AnswerText {
  std::string phase;  // empty: not given
  std::vector<CallText> calls;
  Scope scope;
};

struct ClauseText {
  std::string stage;  // empty: a method or preset on its own
  std::vector<AnswerText> answers;
};

// kInvalidArgument is one sentence that begins "attention plan: ".
Result<std::vector<ClauseText>> parse_clauses(std::string_view text);

}  // namespace loci
