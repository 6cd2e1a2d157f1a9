// Runs a parsed template over variables. One use, one thread; the Body must outlive it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_syntax.h"
#include "text/jinja_value.h"

namespace loci::jinja {

class Evaluator {
 public:
  // `budget` bounds time and memory (Budget). What the template leaves unset reads as undefined.
  Evaluator(Budget budget, std::vector<std::pair<std::string, Value>> variables);

  // kInvalidArgument: raise_exception, with the template's own text, or an operation that Python would refuse; kLimit.
  Result<std::string> run(const Body& body);

 private:
  static constexpr int kMaxCalls = 16;    // of macros within macros
  static constexpr int kMaxStack = 1000;  // levels of statements and expressions
  static constexpr int64_t kMaxRange = 100000;

  enum class Flow { kNext, kBreak, kContinue };
  using Frame = std::vector<std::pair<std::string, Value>>;
  using Evaluated = Result<Value>;

  // Variables: the innermost frame wins; a macro sees its own frames and the template's.
  struct Scope;
  Value lookup(std::string_view name) const;
  void assign(const std::string& name, Value value);
  Status assign_target(const Target& target, Value value, int line);
  Status assign_targets(const std::vector<Target>& targets, const Value& value, int line);

  // Statements.
  Result<Flow> execute(const Body& body);
  Result<Flow> execute_one(const Statement& statement);
  Result<Flow> execute_for(const Statement& statement);
  Result<Flow> execute_loop(const Statement& statement, const Value::List& items, bool& ran);
  Result<Value::List> loop_items(const Statement& statement);
  Result<Flow> execute_captured(const Statement& statement);
  Result<Flow> execute_with(const Statement& statement);
  Status write(std::string_view text);

  // Expressions.
  Evaluated evaluate(const Expression& e);
  Evaluated evaluate_inner(const Expression& e);
  Evaluated evaluate_sequence(const Expression& e);
  Evaluated evaluate_dict(const Expression& e);
  Evaluated evaluate_unary(const Expression& e);
  Evaluated evaluate_binary(const Expression& e);
  Evaluated evaluate_concat(const Expression& e);
  Evaluated evaluate_compare(const Expression& e);
  Evaluated evaluate_condition(const Expression& e);
  Evaluated evaluate_member(const Expression& e);
  Evaluated evaluate_slice(const Expression& e);
  Evaluated evaluate_call(const Expression& e);
  Evaluated evaluate_filter(const Expression& e);
  Evaluated evaluate_test(const Expression& e);
  Result<bool> compare(const std::string& op, const Value& a, const Value& b);
  Result<Arguments> arguments(const Expression& e);
  Result<int64_t> slice_bound(const Expression& e, size_t child, int64_t absent);

  // Members of values.
  Evaluated attribute(const Value& of, const std::string& name, const Expression& e);
  Evaluated index(const Value& of, const Value& key, const Expression& e);
  Evaluated loop_attribute(const LoopData& loop, std::string_view name);

  // Calls.
  Evaluated call(const FunctionData& function, const Arguments& arguments, int line);
  Evaluated call_macro(const Macro& macro, const Arguments& arguments, int line);
  Evaluated make_namespace(const Arguments& arguments);
  Evaluated make_range(const Arguments& arguments, int line);
  Evaluated cycle(const LoopData& loop, const Arguments& arguments, int line);

  static Error error(int line, std::string_view what);

  Budget budget_;
  Frame globals_;              // given from outside and built in
  std::vector<Frame> frames_;  // [0]: the template's own
  size_t visible_from_ = 0;    // frames below this, but for [0], belong to the callers of the running macro
  std::string* output_ = nullptr;
  int calls_ = 0;
  int stack_ = 0;
};

// Arithmetic of two values, Python's. `op`: + - * / // % **
Result<Value> arithmetic(Budget& budget, std::string_view op, const Value& a, const Value& b);

}  // namespace loci::jinja
