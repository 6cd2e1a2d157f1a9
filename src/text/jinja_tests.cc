// The tests of the chat-template language: what may follow `is`.
#include <algorithm>
#include <array>

#include "text/jinja_text.h"
#include "text/jinja_value.h"

namespace loci::jinja {
namespace {

using Tested = Result<bool>;

Result<Value> only_argument(const Arguments& a, std::string_view test) {
  if (!a.positional.empty()) return a.positional[0];
  return fail(ErrorCode::kInvalidArgument, "the test '{}' needs a value to compare with", test);
}

template <bool (*Holds)(const Value&)>
Tested simple(Budget&, const Value& self, const Arguments&) {
  return Holds(self);
}

bool is_defined(const Value& v) { return !v.is_undefined(); }
bool is_undefined(const Value& v) { return v.is_undefined(); }
bool is_none(const Value& v) { return v.is_none(); }
bool is_string(const Value& v) { return v.is_string(); }
bool is_mapping(const Value& v) { return v.is_dict(); }
bool is_iterable(const Value& v) { return v.is_string() || v.is_list() || v.is_dict() || v.is_undefined(); }
bool is_number(const Value& v) { return v.is_number(); }
bool is_integer(const Value& v) { return v.is<int64_t>(); }
bool is_float(const Value& v) { return v.is<double>(); }
bool is_boolean(const Value& v) { return v.is<bool>(); }
bool is_true(const Value& v) { return v.is<bool>() && v.as<bool>(); }
bool is_false(const Value& v) { return v.is<bool>() && !v.as<bool>(); }
bool is_callable(const Value& v) { return v.is<Value::Function>(); }

template <int64_t kRemainder>
Tested has_parity(Budget&, const Value& self, const Arguments&) {
  if (!self.is_integer()) return fail(ErrorCode::kInvalidArgument, "a {} is neither odd nor even", self.type_name());
  return (self.to_integer() & 1) == kRemainder;
}

Tested is_divisible(Budget&, const Value& self, const Arguments& a) {
  LOCI_TRY(const Value by, only_argument(a, "divisibleby"));
  if (!self.is_integer() || !by.is_integer() || by.to_integer() == 0) {
    return fail(ErrorCode::kInvalidArgument, "the test 'divisibleby' takes integers, and not 0");
  }
  return by.to_integer() == -1 || self.to_integer() % by.to_integer() == 0;
}

Tested is_equal(Budget& budget, const Value& self, const Arguments& a) {
  LOCI_TRY(const Value other, only_argument(a, "eq"));
  return equal(budget, self, other);
}

Tested is_unequal(Budget& budget, const Value& self, const Arguments& a) {
  LOCI_TRY(const bool same, is_equal(budget, self, a));
  return !same;
}

template <bool kSwap, bool kNegate>
Tested is_ordered(Budget& budget, const Value& self, const Arguments& a) {
  LOCI_TRY(const Value other, only_argument(a, "lt"));
  LOCI_TRY(const bool below, kSwap ? less(budget, other, self) : less(budget, self, other));
  return below != kNegate;
}

Tested is_in(Budget& budget, const Value& self, const Arguments& a) {
  LOCI_TRY(const Value container, only_argument(a, "in"));
  return contains(budget, container, self);
}

template <std::string (*Cased)(std::string_view), std::string (*Other)(std::string_view)>
Tested is_cased(Budget& budget, const Value& self, const Arguments&) {
  LOCI_TRY(const std::string text, to_text(budget, self));
  LOCI_CHECK(budget.spend(text.size() * 8));
  return Cased(text) == text && Other(text) != text;  // has a letter of that case, and none of the other
}

struct Test {
  std::string_view name;
  Tested (*call)(Budget&, const Value&, const Arguments&);
};

constexpr auto kTests = std::to_array<Test>({
    {"boolean", simple<is_boolean>},
    {"callable", simple<is_callable>},
    {"defined", simple<is_defined>},
    {"divisibleby", is_divisible},
    {"eq", is_equal},
    {"equalto", is_equal},
    {"even", has_parity<0>},
    {"false", simple<is_false>},
    {"float", simple<is_float>},
    {"ge", is_ordered<false, true>},
    {"greaterthan", is_ordered<true, false>},
    {"gt", is_ordered<true, false>},
    {"in", is_in},
    {"integer", simple<is_integer>},
    {"iterable", simple<is_iterable>},
    {"le", is_ordered<true, true>},
    {"lessthan", is_ordered<false, false>},
    {"lower", is_cased<lower, upper>},
    {"lt", is_ordered<false, false>},
    {"mapping", simple<is_mapping>},
    {"ne", is_unequal},
    {"none", simple<is_none>},
    {"number", simple<is_number>},
    {"odd", has_parity<1>},
    {"sequence", simple<is_iterable>},
    {"string", simple<is_string>},
    {"true", simple<is_true>},
    {"undefined", simple<is_undefined>},
    {"upper", is_cased<upper, lower>},
});

const Test* find_test(std::string_view name) {
  const auto found = std::find_if(kTests.begin(), kTests.end(), [&](const Test& t) { return t.name == name; });
  return found == kTests.end() ? nullptr : &*found;
}

}  // namespace

bool test_exists(std::string_view name) { return find_test(name) != nullptr; }

Result<bool> call_test(Budget& budget, std::string_view name, const Value& self, const Arguments& arguments) {
  const Test* test = find_test(name);
  if (test == nullptr) return fail(ErrorCode::kUnsupported, "the test '{}' is not supported", name);
  LOCI_CHECK(budget.spend(Budget::kStep));
  return test->call(budget, self, arguments);
}

}  // namespace loci::jinja
