// Expressions of the evaluator: operators, members of values, calls.
#include <algorithm>
#include <ctime>

#include "text/jinja_evaluator.h"
#include "text/jinja_text.h"

namespace loci::jinja {

Result<Value> Evaluator::evaluate(const Expression& e) {
  if (stack_ >= kMaxStack)
    return fail(ErrorCode::kLimit, "the chat template nests more than {} levels deep", kMaxStack);
  LOCI_CHECK(budget_.spend(Budget::kStep));
  ++stack_;
  Evaluated value = evaluate_inner(e);
  --stack_;
  return value;
}

Result<Value> Evaluator::evaluate_inner(const Expression& e) {
  switch (e.kind) {
    case ExpressionKind::kLiteral:
      return e.value;
    case ExpressionKind::kName:
      LOCI_CHECK(budget_.spend(Budget::kStep * frames_.size() + frames_.back().size() + frames_[0].size()));
      return lookup(e.name);
    case ExpressionKind::kList:
    case ExpressionKind::kTuple:
      return evaluate_sequence(e);
    case ExpressionKind::kDict:
      return evaluate_dict(e);
    case ExpressionKind::kUnary:
      return evaluate_unary(e);
    case ExpressionKind::kBinary:
      return evaluate_binary(e);
    case ExpressionKind::kConcat:
      return evaluate_concat(e);
    case ExpressionKind::kCompare:
      return evaluate_compare(e);
    case ExpressionKind::kCondition:
      return evaluate_condition(e);
    case ExpressionKind::kAttribute:
    case ExpressionKind::kIndex:
      return evaluate_member(e);
    case ExpressionKind::kSlice:
      return evaluate_slice(e);
    case ExpressionKind::kCall:
      return evaluate_call(e);
    case ExpressionKind::kFilter:
      return evaluate_filter(e);
    case ExpressionKind::kTest:
      return evaluate_test(e);
  }
  return Value();
}

// ---- Displays and operators ----------------------------------------------------------------------------------------

Result<Value> Evaluator::evaluate_sequence(const Expression& e) {
  std::vector<Value> items;
  for (const ExpressionPtr& child : e.children) {
    LOCI_TRY(Value item, evaluate(*child));
    items.push_back(std::move(item));
  }
  return budget_.list(std::move(items), e.kind == ExpressionKind::kTuple);
}

Result<Value> Evaluator::evaluate_dict(const Expression& e) {
  std::vector<std::pair<Value, Value>> entries;
  for (size_t i = 0; i + 1 < e.children.size(); i += 2) {
    LOCI_TRY(Value key, evaluate(*e.children[i]));
    LOCI_TRY(Value value, evaluate(*e.children[i + 1]));
    entries.emplace_back(std::move(key), std::move(value));
  }
  return budget_.dict(std::move(entries));
}

Result<Value> Evaluator::evaluate_unary(const Expression& e) {
  LOCI_TRY(Value operand, evaluate(*e.children[0]));
  if (e.name == "not") return Value::boolean(!operand.truthy());
  if (!operand.is_number()) return error(e.line, fmt::format("'{}' before a {}", e.name, operand.type_name()));
  if (e.name == "+") return operand;
  if (operand.is<double>()) return Value::real(-operand.as<double>());
  return arithmetic(budget_, "-", Value::integer(0), operand);
}

// `and` and `or` give one of their operands, not a bool.
Result<Value> Evaluator::evaluate_binary(const Expression& e) {
  LOCI_TRY(Value left, evaluate(*e.children[0]));
  if (e.name == "and" || e.name == "or")
    return left.truthy() == (e.name == "or") ? Evaluated(left) : evaluate(*e.children[1]);
  LOCI_TRY(const Value right, evaluate(*e.children[1]));
  Evaluated value = arithmetic(budget_, e.name, left, right);
  if (!value.ok() && value.error().code == ErrorCode::kInvalidArgument) {
    return error(e.line, fmt::format("{} {} {} cannot be computed", left.type_name(), e.name, right.type_name()));
  }
  return value;
}

Result<Value> Evaluator::evaluate_concat(const Expression& e) {
  std::string out;
  for (const ExpressionPtr& child : e.children) {
    LOCI_TRY(const Value part, evaluate(*child));
    LOCI_TRY(const std::string text, to_text(budget_, part));
    out += text;
  }
  return budget_.text(std::move(out));
}

Result<bool> Evaluator::compare(const std::string& op, const Value& a, const Value& b) {
  if (op == "==") return equal(budget_, a, b);
  if (op == "in") return contains(budget_, b, a);
  if (op == "<") return less(budget_, a, b);
  if (op == ">") return less(budget_, b, a);
  // What is left is the opposite of one of those; for numbers that have no order (NaN) it is not, but no template makes
  // one.
  const bool reversed = op == "<=";
  LOCI_TRY(const bool opposite, op == "!="       ? equal(budget_, a, b)
                                : op == "not in" ? contains(budget_, b, a)
                                : reversed       ? less(budget_, b, a)
                                                 : less(budget_, a, b));
  return !opposite;
}

Result<Value> Evaluator::evaluate_compare(const Expression& e) {
  LOCI_TRY(Value left, evaluate(*e.children[0]));
  for (size_t i = 0; i < e.operators.size(); ++i) {
    LOCI_TRY(Value right, evaluate(*e.children[i + 1]));
    LOCI_TRY(const bool holds, compare(e.operators[i], left, right));
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Result<Value> Evaluator::evaluate_condition(const Expression& e) {
  LOCI_TRY(const Value condition, evaluate(*e.children[1]));
  if (condition.truthy()) return evaluate(*e.children[0]);
  return e.children[2] ? evaluate(*e.children[2]) : Evaluated(Value());
}

// ---- Members -------------------------------------------------------------------------------------------------------

namespace {

Value bound_method(const std::string& name, const Value& self) {
  auto data = std::make_shared<FunctionData>();
  data->name = name;
  data->self = self;
  return Value(Value::Data(Value::Function(std::move(data))));
}

std::string described(const Expression& e) {
  if (e.kind == ExpressionKind::kName) return fmt::format("'{}'", e.name);
  if (e.kind == ExpressionKind::kAttribute) return fmt::format("the attribute '{}'", e.name);
  return "a value";
}

}  // namespace

Result<Value> Evaluator::evaluate_member(const Expression& e) {
  LOCI_TRY(const Value of, evaluate(*e.children[0]));
  if (of.is_undefined()) return error(e.line, fmt::format("{} is undefined", described(*e.children[0])));
  if (e.kind == ExpressionKind::kAttribute) return attribute(of, e.name, e);
  LOCI_TRY(const Value key, evaluate(*e.children[1]));
  return index(of, key, e);
}

// a.name: a method or a field; of a dict, then an entry.
Result<Value> Evaluator::attribute(const Value& of, const std::string& name, const Expression&) {
  if (method_exists(of, name)) return bound_method(name, of);
  if (of.is<Value::Loop>()) return loop_attribute(*of.as<Value::Loop>(), name);
  if (of.is<Value::Namespace>()) {
    LOCI_CHECK(budget_.spend(of.as<Value::Namespace>()->fields.size()));
    for (const auto& [known, value] : of.as<Value::Namespace>()->fields) {
      if (known == name) return value;
    }
  }
  return of.is_dict() ? dict_get(budget_, *of.as<Value::Dict>(), Value::text(name)) : Evaluated(Value());
}

// a[key]: an entry or an element; then, for a string key, what a.key is.
Result<Value> Evaluator::index(const Value& of, const Value& key, const Expression& e) {
  if (of.is_dict()) {
    LOCI_TRY(Value value, dict_get(budget_, *of.as<Value::Dict>(), key));
    if (!value.is_undefined() || !key.is_string()) return value;
  }
  if (key.is_string()) return attribute(of, key.str(), e);
  if (!key.is_integer() || (!of.is_list() && !of.is_string())) return Value();
  int64_t at = key.to_integer();
  if (of.is_list()) {
    const auto count = static_cast<int64_t>(of.items().size());
    if (at < 0) at += count;
    return at >= 0 && at < count ? of.items()[static_cast<size_t>(at)] : Value();
  }
  LOCI_CHECK(budget_.spend(of.str().size()));
  const std::vector<size_t> offsets = character_offsets(of.str());
  const auto count = static_cast<int64_t>(offsets.size()) - 1;
  if (at < 0) at += count;
  if (at < 0 || at >= count) return Value();
  const size_t begin = offsets[static_cast<size_t>(at)];
  return budget_.text(of.str().substr(begin, offsets[static_cast<size_t>(at) + 1] - begin));
}

Result<Value> Evaluator::loop_attribute(const LoopData& loop, std::string_view name) {
  const size_t count = loop.items->items.size(), i = loop.index;
  if (name == "index") return Value::integer(static_cast<int64_t>(i) + 1);
  if (name == "index0") return Value::integer(static_cast<int64_t>(i));
  if (name == "revindex") return Value::integer(static_cast<int64_t>(count - i));
  if (name == "revindex0") return Value::integer(static_cast<int64_t>(count - i) - 1);
  if (name == "first") return Value::boolean(i == 0);
  if (name == "last") return Value::boolean(i + 1 == count);
  if (name == "length") return Value::integer(static_cast<int64_t>(count));
  if (name == "depth") return Value::integer(1);  // counts recursive loops only, and there are none
  if (name == "depth0") return Value::integer(0);
  if (name == "previtem") return i > 0 ? loop.items->items[i - 1] : Value();
  if (name == "nextitem") return i + 1 < count ? loop.items->items[i + 1] : Value();
  return Value();
}

Result<int64_t> Evaluator::slice_bound(const Expression& e, size_t child, int64_t absent) {
  if (!e.children[child]) return absent;
  LOCI_TRY(const Value bound, evaluate(*e.children[child]));
  if (bound.is_none()) return absent;
  if (!bound.is_integer()) return error(e.line, fmt::format("a slice bound is a {}", bound.type_name()));
  return bound.to_integer();
}

Result<Value> Evaluator::evaluate_slice(const Expression& e) {
  LOCI_TRY(const Value of, evaluate(*e.children[0]));
  LOCI_TRY(const int64_t step, slice_bound(e, 3, 1));
  if (step == 0) return error(e.line, "a slice of step 0");
  LOCI_TRY(int64_t first, slice_bound(e, 1, step > 0 ? 0 : INT64_MAX));
  LOCI_TRY(int64_t last, slice_bound(e, 2, step > 0 ? INT64_MAX : INT64_MIN));
  const bool is_text = of.is_string();
  if (!is_text && !of.is_list())
    return error(e.line, fmt::format("{} is a {}, which has no slices", described(*e.children[0]), of.type_name()));
  LOCI_CHECK(budget_.spend(is_text ? of.str().size() * 2 : of.items().size()));
  const std::vector<size_t> offsets = is_text ? character_offsets(of.str()) : std::vector<size_t>();
  const auto count = static_cast<int64_t>(is_text ? offsets.size() - 1 : of.items().size());
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? count : count - 1;
  if (first < 0) first += count;
  if (last < 0 && last != INT64_MIN) last += count;
  first = std::clamp(first, low, high);
  last = std::clamp(last, low, high);
  std::string text;
  std::vector<Value> items;
  const int64_t stride = std::clamp(step, -(count + 1), count + 1);  // beyond the length, all strides are alike
  for (int64_t i = first; step > 0 ? i < last : i > last; i += stride) {
    const auto at = static_cast<size_t>(i);
    is_text ? (void)text.append(of.str(), offsets[at], offsets[at + 1] - offsets[at]) : items.push_back(of.items()[at]);
  }
  return is_text ? budget_.text(std::move(text)) : budget_.list(std::move(items), of.as<Value::List>()->tuple);
}

// ---- Calls ---------------------------------------------------------------------------------------------------------

Result<Arguments> Evaluator::arguments(const Expression& e) {
  Arguments out;
  for (size_t i = 1; i < e.children.size(); ++i) {
    LOCI_TRY(Value value, evaluate(*e.children[i]));
    out.positional.push_back(std::move(value));
  }
  for (const auto& [name, child] : e.named) {
    LOCI_TRY(Value value, evaluate(*child));
    out.named.emplace_back(name, std::move(value));
  }
  return out;
}

namespace {

// Says where in the template it happened. The template's own exceptions stay as they are.
template <typename T>
Result<T> located(Result<T> result, int line) {
  if (result.ok() || result.error().code == ErrorCode::kLimit) return result;
  return Error{result.error().code, fmt::format("chat template, line {}: {}", line, result.error().message)};
}

}  // namespace

Result<Value> Evaluator::evaluate_filter(const Expression& e) {
  LOCI_TRY(const Value self, evaluate(*e.children[0]));
  LOCI_TRY(const Arguments given, arguments(e));
  return located(call_filter(budget_, e.name, self, given), e.line);
}

Result<Value> Evaluator::evaluate_test(const Expression& e) {
  LOCI_TRY(const Value self, evaluate(*e.children[0]));
  LOCI_TRY(const Arguments given, arguments(e));
  LOCI_TRY(const bool holds, located(call_test(budget_, e.name, self, given), e.line));
  return Value::boolean(holds);
}

Result<Value> Evaluator::evaluate_call(const Expression& e) {
  LOCI_TRY(const Value callee, evaluate(*e.children[0]));
  if (!callee.is<Value::Function>()) {
    return error(e.line,
                 fmt::format("{} is {}, which cannot be called", described(*e.children[0]), callee.type_name()));
  }
  LOCI_TRY(const Arguments given, arguments(e));
  return call(*callee.as<Value::Function>(), given, e.line);
}

namespace {

Result<Value> now_as_text(Budget& budget, const std::string& format, int line) {
  char buffer[256];
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  if (format.empty()) return Value::text("");
  if (::localtime_r(&now, &local) == nullptr) return Value::text("");
  const size_t bytes = std::strftime(buffer, sizeof(buffer), format.c_str(), &local);
  if (bytes == 0) {
    return fail(ErrorCode::kLimit, "chat template, line {}: the date format '{}' gives more than {} bytes", line,
                format.substr(0, 40), sizeof(buffer));
  }
  return budget.text(std::string(buffer, bytes));
}

}  // namespace

Result<Value> Evaluator::call(const FunctionData& function, const Arguments& given, int line) {
  if (function.macro != nullptr) return call_macro(*function.macro, given, line);
  if (function.self.is<Value::Loop>()) return cycle(*function.self.as<Value::Loop>(), given, line);
  if (!function.self.is_undefined()) return located(call_method(budget_, function.name, function.self, given), line);
  const Value* first = given.get(0, function.name == "strftime_now" ? "format" : "message");
  if (function.name == "raise_exception") {
    LOCI_TRY(std::string message, to_text(budget_, first ? *first : Value()));
    return Error{ErrorCode::kInvalidArgument, std::move(message)};
  }
  if (function.name == "strftime_now") {
    if (first == nullptr || !first->is_string()) return error(line, "strftime_now needs a format");
    return now_as_text(budget_, first->str(), line);
  }
  if (function.name == "namespace") return make_namespace(given);
  if (function.name == "range") return make_range(given, line);
  std::vector<std::pair<Value, Value>> entries;  // dict(a=1)
  if (!given.positional.empty() && given.positional[0].is_dict())
    entries = given.positional[0].as<Value::Dict>()->entries;
  for (const auto& [name, value] : given.named) entries.emplace_back(Value::text(name), value);
  return budget_.dict(std::move(entries));
}

Result<Value> Evaluator::make_namespace(const Arguments& given) {
  auto data = std::make_shared<NamespaceData>();
  if (!given.positional.empty() && given.positional[0].is_dict()) {
    for (const auto& [key, value] : given.positional[0].as<Value::Dict>()->entries) {
      LOCI_TRY(std::string name, to_text(budget_, key));
      data->fields.emplace_back(std::move(name), value);
    }
  }
  for (const auto& [name, value] : given.named) {
    if (!is_plain_data(value)) {
      return fail(ErrorCode::kUnsupported, "the chat template keeps a {} in a namespace", value.type_name());
    }
    data->fields.emplace_back(name, value);
  }
  return Value(Value::Data(Value::Namespace(std::move(data))));
}

Result<Value> Evaluator::make_range(const Arguments& given, int line) {
  int64_t bounds[3] = {0, 0, 1};
  const size_t count = given.positional.size();
  for (size_t i = 0; i < std::min<size_t>(count, 3); ++i) {
    if (!given.positional[i].is_integer()) return error(line, "range() takes integers");
    bounds[count == 1 ? 1 : i] = given.positional[i].to_integer();
  }
  if (count < 1 || count > 3 || bounds[2] == 0)
    return error(line, "range() takes one to three integers, the step not 0");
  std::vector<Value> items;
  for (int64_t i = bounds[0]; bounds[2] > 0 ? i < bounds[1] : i > bounds[1];) {
    if (static_cast<int64_t>(items.size()) >= kMaxRange) {
      return fail(ErrorCode::kLimit, "chat template, line {}: range() of more than {} numbers", line, kMaxRange);
    }
    items.push_back(Value::integer(i));
    if (__builtin_add_overflow(i, bounds[2], &i)) break;
  }
  return budget_.list(std::move(items));
}

Result<Value> Evaluator::cycle(const LoopData& loop, const Arguments& given, int line) {
  if (given.positional.empty()) return error(line, "loop.cycle() needs values");
  return given.positional[loop.index % given.positional.size()];
}

}  // namespace loci::jinja
