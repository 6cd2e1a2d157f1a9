// Statements and variables of the evaluator; expressions are in jinja_expressions.cc.
#include "text/jinja_evaluator.h"

#include <algorithm>

namespace loci::jinja {

// A frame, for as long as a block lasts.
struct Evaluator::Scope {
  explicit Scope(Evaluator& e) : evaluator(e) { evaluator.frames_.emplace_back(); }
  ~Scope() { evaluator.frames_.pop_back(); }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  Evaluator& evaluator;
};

namespace {

Value builtin(std::string name) {
  auto data = std::make_shared<FunctionData>();
  data->name = std::move(name);
  return Value(Value::Data(Value::Function(std::move(data))));
}

}  // namespace

Evaluator::Evaluator(Budget budget, std::vector<std::pair<std::string, Value>> variables)
    : budget_(budget), globals_(std::move(variables)), frames_(1) {
  for (const char* name : {"raise_exception", "strftime_now", "namespace", "range", "dict"}) {
    globals_.emplace_back(name, builtin(name));
  }
}

Error Evaluator::error(int line, std::string_view what) {
  return fail(ErrorCode::kInvalidArgument, "chat template, line {}: {}", line, what);
}

Result<std::string> Evaluator::run(const Body& body) {
  std::string out;
  output_ = &out;
  const auto flow = execute(body);
  output_ = nullptr;
  if (!flow.ok()) return flow.error();
  return out;
}

Status Evaluator::write(std::string_view text) {
  LOCI_CHECK(budget_.spend(text.size()));
  output_->append(text);
  return {};
}

// ---- Variables -----------------------------------------------------------------------------------------------------

Value Evaluator::lookup(std::string_view name) const {
  const auto search = [&](const Frame& frame) -> const Value* {
    for (const auto& [known, value] : frame) {
      if (known == name) return &value;
    }
    return nullptr;
  };
  for (size_t i = frames_.size(); i-- > std::max<size_t>(visible_from_, 1);) {
    if (const Value* value = search(frames_[i])) return *value;
  }
  if (const Value* value = search(frames_[0])) return *value;
  if (const Value* value = search(globals_)) return *value;
  return Value();
}

void Evaluator::assign(const std::string& name, Value value) {
  Frame& frame = frames_.back();
  const auto known = std::find_if(frame.begin(), frame.end(), [&](const auto& entry) { return entry.first == name; });
  if (known != frame.end()) {
    known->second = std::move(value);
  } else {
    frame.emplace_back(name, std::move(value));
  }
}

Status Evaluator::assign_target(const Target& target, Value value, int line) {
  if (target.attribute.empty()) {
    assign(target.name, std::move(value));
    return {};
  }
  const Value object = lookup(target.name);
  if (!object.is<Value::Namespace>()) {
    return error(line, fmt::format("'{}' is no namespace, so '{}.{}' cannot be set", target.name, target.name,
                                   target.attribute));
  }
  if (!is_plain_data(value)) {
    return fail(ErrorCode::kUnsupported, "chat template, line {}: a {} is kept in a namespace", line,
                value.type_name());
  }
  auto& fields = object.as<Value::Namespace>()->fields;
  LOCI_CHECK(budget_.spend(fields.size()));
  for (auto& [name, old] : fields) {
    if (name != target.attribute) continue;
    old = std::move(value);
    return {};
  }
  fields.emplace_back(target.attribute, std::move(value));
  return {};
}

Status Evaluator::assign_targets(const std::vector<Target>& targets, const Value& value, int line) {
  if (targets.size() == 1) return assign_target(targets[0], value, line);
  LOCI_TRY(const Value::List items, iterate(budget_, value));
  if (items->items.size() != targets.size()) {
    return error(line, fmt::format("{} values are given to {} names", items->items.size(), targets.size()));
  }
  for (size_t i = 0; i < targets.size(); ++i) LOCI_CHECK(assign_target(targets[i], items->items[i], line));
  return {};
}

// ---- Statements ----------------------------------------------------------------------------------------------------

Result<Evaluator::Flow> Evaluator::execute(const Body& body) {
  if (stack_ >= kMaxStack)
    return fail(ErrorCode::kLimit, "the chat template nests more than {} levels deep", kMaxStack);
  ++stack_;
  Result<Flow> flow = Flow::kNext;
  for (const Statement& statement : body) {
    flow = execute_one(statement);
    if (!flow.ok() || *flow != Flow::kNext) break;
  }
  --stack_;
  return flow;
}

Result<Evaluator::Flow> Evaluator::execute_one(const Statement& s) {
  LOCI_CHECK(budget_.spend(Budget::kStep * (frames_.size() + 1) + frames_.back().size()));
  switch (s.kind) {
    case StatementKind::kText:
      LOCI_CHECK(write(s.text));
      return Flow::kNext;
    case StatementKind::kOutput: {
      LOCI_TRY(const Value value, evaluate(*s.expression));
      LOCI_TRY(const std::string text, to_text(budget_, value));
      LOCI_CHECK(write(text));
      return Flow::kNext;
    }
    case StatementKind::kIf: {
      LOCI_TRY(const Value condition, evaluate(*s.expression));
      return execute(condition.truthy() ? s.body : s.otherwise);
    }
    case StatementKind::kSet: {
      LOCI_TRY(const Value value, evaluate(*s.expression));
      LOCI_CHECK(assign_targets(s.targets, value, s.line));
      return Flow::kNext;
    }
    case StatementKind::kMacro: {
      auto data = std::make_shared<FunctionData>();
      data->name = s.macro->name;
      data->macro = s.macro.get();
      assign(s.macro->name, Value(Value::Data(Value::Function(std::move(data)))));
      return Flow::kNext;
    }
    case StatementKind::kFor:
      return execute_for(s);
    case StatementKind::kWith:
      return execute_with(s);
    case StatementKind::kSetBlock:
    case StatementKind::kFilter:
      return execute_captured(s);
    case StatementKind::kGroup:
      return execute(s.body);
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Result<Evaluator::Flow> Evaluator::execute_for(const Statement& s) {
  LOCI_TRY(const Value::List items, loop_items(s));
  bool ran = false;
  LOCI_TRY(const Flow flow, execute_loop(s, items, ran));
  if (ran || s.otherwise.empty()) return flow;
  const Scope scope(*this);
  return execute(s.otherwise);
}

// What the loop goes over, its `if` applied.
Result<Value::List> Evaluator::loop_items(const Statement& s) {
  LOCI_TRY(const Value value, evaluate(*s.expression));
  LOCI_TRY(Value::List items, iterate(budget_, value));
  if (!s.filter) return items;
  std::vector<Value> kept;
  for (const Value& item : items->items) {
    const Scope scope(*this);
    LOCI_CHECK(assign_targets(s.targets, item, s.line));
    LOCI_TRY(const Value keep, evaluate(*s.filter));
    if (keep.truthy()) kept.push_back(item);
  }
  LOCI_TRY(const Value list, budget_.list(std::move(kept)));
  return list.as<Value::List>();
}

Result<Evaluator::Flow> Evaluator::execute_loop(const Statement& s, const Value::List& items, bool& ran) {
  for (size_t i = 0; i < items->items.size(); ++i) {
    ran = true;
    LOCI_CHECK(budget_.spend(Budget::kStep * 4));
    const Scope scope(*this);
    auto data = std::make_shared<LoopData>();
    data->items = items;
    data->index = i;
    assign("loop", Value(Value::Data(Value::Loop(std::move(data)))));
    LOCI_CHECK(assign_targets(s.targets, items->items[i], s.line));
    LOCI_TRY(const Flow flow, execute(s.body));
    if (flow == Flow::kBreak) break;
  }
  return Flow::kNext;
}

// {% set x %}...{% endset %} and {% filter f %}...{% endfilter %}: the body's text goes through the filters.
Result<Evaluator::Flow> Evaluator::execute_captured(const Statement& s) {
  std::string text;
  Value value;
  {
    const Scope scope(*this);
    std::string* const outer = std::exchange(output_, &text);
    const auto flow = execute(s.body);
    output_ = outer;
    if (!flow.ok() || *flow != Flow::kNext) return flow;
    LOCI_TRY(Value captured, budget_.text(std::move(text)));
    assign(std::string(kCaptured), std::move(captured));
    LOCI_TRY(value, evaluate(*s.expression));
  }
  if (s.kind == StatementKind::kSetBlock) {
    LOCI_CHECK(assign_target(s.targets[0], std::move(value), s.line));
  } else {
    LOCI_TRY(const std::string filtered, to_text(budget_, value));
    LOCI_CHECK(write(filtered));
  }
  return Flow::kNext;
}

Result<Evaluator::Flow> Evaluator::execute_with(const Statement& s) {
  Frame values;
  for (size_t i = 0; i < s.values.size(); ++i) {  // evaluated outside of the new scope, as Jinja does
    LOCI_TRY(Value value, evaluate(*s.values[i]));
    values.emplace_back(s.targets[i].name, std::move(value));
  }
  const Scope scope(*this);
  frames_.back() = std::move(values);
  return execute(s.body);
}

// ---- Macros --------------------------------------------------------------------------------------------------------

Result<Value> Evaluator::call_macro(const Macro& macro, const Arguments& arguments, int line) {
  if (calls_ >= kMaxCalls) {
    return fail(ErrorCode::kLimit, "chat template, line {}: macros call each other more than {} deep", line, kMaxCalls);
  }
  if (arguments.positional.size() > macro.parameters.size()) {
    return error(line, fmt::format("the macro '{}' takes {} arguments, {} are given", macro.name,
                                   macro.parameters.size(), arguments.positional.size()));
  }
  for (const auto& named : arguments.named) {
    const auto known = std::find_if(macro.parameters.begin(), macro.parameters.end(),
                                    [&](const auto& parameter) { return parameter.first == named.first; });
    if (known == macro.parameters.end())
      return error(line, fmt::format("the macro '{}' has no '{}'", macro.name, named.first));
  }
  const Scope scope(*this);
  const size_t caller_from = std::exchange(visible_from_, frames_.size() - 1);
  ++calls_;
  std::string text;
  std::string* const outer = std::exchange(output_, &text);
  const auto done = [&]() -> Result<Flow> {
    for (size_t i = 0; i < macro.parameters.size(); ++i) {
      const auto& [name, fallback] = macro.parameters[i];
      Value value;
      if (const Value* given = arguments.get(i, name)) {
        value = *given;
      } else if (fallback) {
        LOCI_TRY(value, evaluate(*fallback));
      }
      assign(name, std::move(value));
    }
    return execute(macro.body);
  }();
  output_ = outer;
  --calls_;
  visible_from_ = caller_from;
  if (!done.ok()) return done.error();
  return budget_.text(std::move(text));
}

}  // namespace loci::jinja
