// Python's arithmetic on 64-bit integers, floats, strings and lists. An integer that leaves 64 bits is an error.
#include <cmath>

#include "base/checked.h"
#include "text/jinja_evaluator.h"

namespace loci::jinja {
namespace {

Error too_large(std::string_view op, int64_t a, int64_t b) {
  return fail(ErrorCode::kLimit, "the chat template computes {} {} {}, which does not fit 64 bits", a, op, b);
}

Result<Value> checked(std::optional<int64_t> result, std::string_view op, int64_t a, int64_t b) {
  if (!result) return too_large(op, a, b);
  return Value::integer(*result);
}

Result<Value> integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0) return Value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  if (exponent > 63 && (base > 1 || base < -1)) return too_large("**", base, exponent);
  if (base == -1) return Value::integer(exponent % 2 == 0 ? 1 : -1);
  if (base == 0 || base == 1) return Value::integer(exponent == 0 ? 1 : base);
  int64_t out = 1;
  for (int64_t i = 0; i < exponent; ++i) {
    const auto next = checked_mul(out, base);
    if (!next) return too_large("**", base, exponent);
    out = *next;
  }
  return Value::integer(out);
}

Result<Value> integers(std::string_view op, int64_t a, int64_t b) {
  if (op == "+") return checked(checked_add(a, b), op, a, b);
  if (op == "*") return checked(checked_mul(a, b), op, a, b);
  if (op == "**") return integer_power(a, b);
  if (op == "-") {
    int64_t out;
    if (__builtin_sub_overflow(a, b, &out)) return too_large(op, a, b);
    return Value::integer(out);
  }
  if (b == 0) return fail(ErrorCode::kInvalidArgument, "the chat template divides {} by zero", a);
  if (op == "/") return Value::real(static_cast<double>(a) / static_cast<double>(b));
  if (b == -1) return op == "%" ? Result<Value>(Value::integer(0)) : integers("-", 0, a);
  const bool down = a % b != 0 && (a < 0) != (b < 0);  // Python rounds towards minus infinity
  return Value::integer(op == "%" ? a % b + (down ? b : 0) : a / b - (down ? 1 : 0));
}

Result<Value> reals(std::string_view op, double a, double b) {
  if (op == "+") return Value::real(a + b);
  if (op == "-") return Value::real(a - b);
  if (op == "*") return Value::real(a * b);
  if (op == "**") return Value::real(std::pow(a, b));
  if (b == 0) return fail(ErrorCode::kInvalidArgument, "the chat template divides {} by zero", a);
  if (op == "/") return Value::real(a / b);
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
  return Value::real(op == "%" ? remainder : std::floor((a - remainder) / b + 0.5));
}

Result<Value> repeated(Budget& budget, const Value& what, int64_t times) {
  const auto count = static_cast<uint64_t>(times < 0 ? 0 : times);
  const uint64_t each = what.is_string() ? what.str().size() : what.items().size() * Budget::kItem;
  const auto total = checked_mul(each + 1, count);
  LOCI_CHECK(budget.spend(total.value_or(UINT64_MAX)));
  if (what.is_string()) {
    std::string out;
    for (uint64_t i = 0; i < count; ++i) out += what.str();
    return budget.text(std::move(out));
  }
  std::vector<Value> items;
  for (uint64_t i = 0; i < count; ++i) items.insert(items.end(), what.items().begin(), what.items().end());
  return budget.list(std::move(items), what.as<Value::List>()->tuple);
}

Result<Value> joined_lists(Budget& budget, const ListData& a, const ListData& b) {
  LOCI_CHECK(budget.spend((a.items.size() + b.items.size()) * Budget::kItem));
  std::vector<Value> items = a.items;
  items.insert(items.end(), b.items.begin(), b.items.end());
  return budget.list(std::move(items), a.tuple);
}

}  // namespace

Result<Value> arithmetic(Budget& budget, std::string_view op, const Value& a, const Value& b) {
  if (a.is_integer() && b.is_integer()) return integers(op, a.to_integer(), b.to_integer());
  if (a.is_number() && b.is_number()) return reals(op, a.to_real(), b.to_real());
  if (op == "+" && a.is_string() && b.is_string()) {
    LOCI_CHECK(budget.spend(a.str().size() + b.str().size()));
    return budget.text(a.str() + b.str());
  }
  if (op == "+" && a.is_list() && b.is_list() && a.as<Value::List>()->tuple == b.as<Value::List>()->tuple) {
    return joined_lists(budget, *a.as<Value::List>(), *b.as<Value::List>());
  }
  if (op == "*" && (a.is_string() || a.is_list()) && b.is_integer()) return repeated(budget, a, b.to_integer());
  if (op == "*" && a.is_integer() && (b.is_string() || b.is_list())) return repeated(budget, b, a.to_integer());
  return fail(ErrorCode::kInvalidArgument, "the chat template computes {} {} {}", a.type_name(), op, b.type_name());
}

}  // namespace loci::jinja
