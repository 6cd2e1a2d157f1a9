// The methods of strings, dicts, lists and loops that a template may call; none changes its object.
#include <algorithm>
#include <array>

#include "text/jinja_text.h"
#include "text/jinja_value.h"

namespace loci::jinja {
namespace {

using Evaluated = Result<Value>;

Error method_misuse(std::string_view method, std::string_view what) {
  return fail(ErrorCode::kInvalidArgument, "{}() {}", method, what);
}

// ---- Strings -------------------------------------------------------------------------------------------------------

template <bool kLeft, bool kRight>
Evaluated strip_ends(Budget& budget, const Value& self, const Arguments& a) {
  const Value* set = a.get(0, "chars");
  if (set == nullptr || set->is_none()) return budget.text(std::string(strip(self.str(), kLeft, kRight)));
  if (!set->is_string()) return method_misuse("strip", "takes the characters as a string");
  LOCI_CHECK(budget.spend((self.str().size() + set->str().size()) * 4));
  return budget.text(std::string(strip(self.str(), set->str(), kLeft, kRight)));
}

Evaluated texts(Budget& budget, const std::vector<std::string_view>& parts) {
  std::vector<Value> out;
  for (const std::string_view part : parts) {
    LOCI_TRY(Value text, budget.text(std::string(part)));
    out.push_back(std::move(text));
  }
  return budget.list(std::move(out));
}

template <bool kFromRight>
Evaluated split_text(Budget& budget, const Value& self, const Arguments& a) {
  const Value *separator = a.get(0, "sep"), *most = a.get(1, "maxsplit");
  const int64_t limit = most != nullptr && most->is_integer() ? most->to_integer() : -1;
  const bool by_space = separator == nullptr || separator->is_none();
  if (!by_space && (!separator->is_string() || separator->str().empty()))
    return method_misuse("split", "needs a separator that is not empty");
  const uint64_t searching = by_space     ? 1
                             : kFromRight ? separator->str().size()
                                          : 1;  // from the right it is the plain search
  LOCI_CHECK(budget.spend(self.str().size() * (1 + searching / 8)));
  if (!by_space && self.str().size() / separator->str().size() > 0) {
    LOCI_CHECK(budget.spend(self.str().size() / separator->str().size()));
  }
  return texts(budget, by_space ? split_space(self.str(), limit, kFromRight)
                                : split(self.str(), separator->str(), limit, kFromRight));
}

Evaluated split_to_lines(Budget& budget, const Value& self, const Arguments& a) {
  if (!a.positional.empty() || !a.named.empty())
    return fail(ErrorCode::kUnsupported, "splitlines() with arguments is not supported");
  LOCI_CHECK(budget.spend(self.str().size()));
  return texts(budget, split_lines(self.str()));
}

template <bool kAtEnd>
Evaluated has_affix(Budget& budget, const Value& self, const Arguments& a) {
  if (a.positional.size() != 1)
    return fail(ErrorCode::kUnsupported, "startswith() and endswith() take one argument here");
  const Value& given = a.positional[0];
  const std::vector<Value> alone = {given};
  const bool several = given.is_list() && given.as<Value::List>()->tuple;
  for (const Value& affix : several ? given.items() : alone) {
    if (!affix.is_string()) return method_misuse("startswith", "takes a string or a tuple of strings");
    LOCI_CHECK(budget.spend(affix.str().size() / 8 + Budget::kStep));
    if (kAtEnd ? self.str().ends_with(affix.str()) : self.str().starts_with(affix.str())) return Value::boolean(true);
  }
  return Value::boolean(false);
}

template <bool kAtEnd>
Evaluated without_affix(Budget& budget, const Value& self, const Arguments& a) {
  if (a.positional.size() != 1 || !a.positional[0].is_string()) return method_misuse("removeprefix", "takes a string");
  const std::string &text = self.str(), &affix = a.positional[0].str();
  const bool found = kAtEnd ? text.ends_with(affix) : text.starts_with(affix);
  if (!found) return self;
  return budget.text(kAtEnd ? text.substr(0, text.size() - affix.size()) : text.substr(affix.size()));
}

template <std::string (*Change)(std::string_view)>
Evaluated change_text(Budget& budget, const Value& self, const Arguments&) {
  LOCI_CHECK(budget.spend(self.str().size() * 4));
  return budget.text(Change(self.str()));
}

Evaluated replace_text(Budget& budget, const Value& self, const Arguments& a) {
  const Value *from = a.get(0, "old"), *to = a.get(1, "new"), *count = a.get(2, "count");
  if (from == nullptr || to == nullptr || !from->is_string() || !to->is_string()) {
    return method_misuse("replace", "takes the old and the new text");
  }
  const int64_t limit = count != nullptr && count->is_integer() ? count->to_integer() : -1;
  LOCI_CHECK(budget.spend(self.str().size()));
  LOCI_CHECK(budget.spend(replaced_bytes(self.str(), from->str(), to->str(), limit)));
  return budget.text(replace(self.str(), from->str(), to->str(), limit));
}

template <bool kLast>
Evaluated find_text(Budget& budget, const Value& self, const Arguments& a) {
  if (a.positional.size() != 1 || !a.positional[0].is_string()) {
    return fail(ErrorCode::kUnsupported, "find() takes one string here");
  }
  const std::string &text = self.str(), &needle = a.positional[0].str();
  LOCI_CHECK(budget.spend(text.size() * (kLast ? 1 + needle.size() / 8 : 1) + needle.size()));
  std::optional<size_t> at = position_of(text, needle);
  if (kLast && at) at = text.rfind(needle);
  return Value::integer(at ? static_cast<int64_t>(count_characters(std::string_view(text).substr(0, *at))) : -1);
}

Evaluated count_text(Budget& budget, const Value& self, const Arguments& a) {
  if (a.positional.size() != 1 || !a.positional[0].is_string()) return method_misuse("count", "takes one string");
  const std::string &text = self.str(), &needle = a.positional[0].str();
  LOCI_CHECK(budget.spend(text.size() * 2));
  if (needle.empty()) return Value::integer(static_cast<int64_t>(count_characters(text)) + 1);
  int64_t count = 0;
  for (auto at = position_of(text, needle); at; at = position_of(text, needle, *at + needle.size())) ++count;
  return Value::integer(count);
}

Evaluated join_texts(Budget& budget, const Value& self, const Arguments& a) {
  if (a.positional.size() != 1) return method_misuse("join", "takes a list of strings");
  LOCI_TRY(const Value::List items, iterate(budget, a.positional[0]));
  std::string out;
  for (size_t i = 0; i < items->items.size(); ++i) {
    const Value& item = items->items[i];
    if (!item.is_string()) return method_misuse("join", fmt::format("meets a {} among the strings", item.type_name()));
    LOCI_CHECK(budget.spend(self.str().size() + item.str().size()));
    if (i > 0) out += self.str();
    out += item.str();
  }
  return budget.text(std::move(out));
}

template <bool (*Holds)(unsigned char)>
Evaluated all_are(Budget& budget, const Value& self, const Arguments&) {
  LOCI_CHECK(budget.spend(self.str().size()));
  return Value::boolean(!self.str().empty() && std::all_of(self.str().begin(), self.str().end(), [](char c) {
    return Holds(static_cast<unsigned char>(c));
  }));
}

bool is_ascii_digit(unsigned char c) { return c >= '0' && c <= '9'; }
bool is_ascii_space(unsigned char c) { return c < 0x80 && is_space(c); }

// ---- Dicts and lists -----------------------------------------------------------------------------------------------

Evaluated dict_value(Budget& budget, const Value& self, const Arguments& a) {
  if (a.positional.empty()) return method_misuse("get", "needs a key");
  LOCI_TRY(Value found, dict_get(budget, *self.as<Value::Dict>(), a.positional[0]));
  if (!found.is_undefined()) return found;
  const Value* fallback = a.get(1, "default");
  return fallback != nullptr ? *fallback : Value::none();
}

Evaluated dict_items(Budget& budget, const Value& self, const Arguments&) {
  return call_filter(budget, "items", self, {});
}

Evaluated dict_keys(Budget& budget, const Value& self, const Arguments&) {
  LOCI_TRY(const Value::List keys, iterate(budget, self));
  return Value(Value::Data(keys));
}

Evaluated dict_values(Budget& budget, const Value& self, const Arguments&) {
  std::vector<Value> out;
  for (const auto& entry : self.as<Value::Dict>()->entries) out.push_back(entry.second);
  return budget.list(std::move(out));
}

Evaluated list_index(Budget& budget, const Value& self, const Arguments& a) {
  if (a.positional.size() != 1) return method_misuse("index", "takes one value here");
  for (size_t i = 0; i < self.items().size(); ++i) {
    LOCI_TRY(const bool same, equal(budget, self.items()[i], a.positional[0]));
    if (same) return Value::integer(static_cast<int64_t>(i));
  }
  return method_misuse("index", "does not find the value in the list");
}

Evaluated list_count(Budget& budget, const Value& self, const Arguments& a) {
  if (a.positional.size() != 1) return method_misuse("count", "takes one value");
  int64_t count = 0;
  for (const Value& item : self.items()) {
    LOCI_TRY(const bool same, equal(budget, item, a.positional[0]));
    count += same ? 1 : 0;
  }
  return Value::integer(count);
}

Evaluated loop_cycle(Budget&, const Value&, const Arguments&) {
  return fail(ErrorCode::kInternal, "loop.cycle() is the evaluator's");
}

struct Method {
  std::string_view name;
  Evaluated (*call)(Budget&, const Value&, const Arguments&);
};

constexpr auto kStringMethods = std::to_array<Method>({
    {"capitalize", change_text<capitalize>},
    {"count", count_text},
    {"endswith", has_affix<true>},
    {"find", find_text<false>},
    {"isdigit", all_are<is_ascii_digit>},
    {"isspace", all_are<is_ascii_space>},
    {"join", join_texts},
    {"lower", change_text<lower>},
    {"lstrip", strip_ends<true, false>},
    {"removeprefix", without_affix<false>},
    {"removesuffix", without_affix<true>},
    {"replace", replace_text},
    {"rfind", find_text<true>},
    {"rsplit", split_text<true>},
    {"rstrip", strip_ends<false, true>},
    {"split", split_text<false>},
    {"splitlines", split_to_lines},
    {"startswith", has_affix<false>},
    {"strip", strip_ends<true, true>},
    {"title", change_text<title>},
    {"upper", change_text<upper>},
});
constexpr auto kDictMethods = std::to_array<Method>({
    {"get", dict_value},
    {"items", dict_items},
    {"keys", dict_keys},
    {"values", dict_values},
});
constexpr auto kListMethods = std::to_array<Method>({{"count", list_count}, {"index", list_index}});
constexpr auto kLoopMethods = std::to_array<Method>({{"cycle", loop_cycle}});

template <size_t N>
const Method* find_in(const std::array<Method, N>& methods, std::string_view name) {
  const auto found = std::find_if(methods.begin(), methods.end(), [&](const Method& m) { return m.name == name; });
  return found == methods.end() ? nullptr : &*found;
}

const Method* find_method(const Value& self, std::string_view name) {
  if (self.is_string()) return find_in(kStringMethods, name);
  if (self.is_dict()) return find_in(kDictMethods, name);
  if (self.is_list()) return find_in(kListMethods, name);
  return self.is<Value::Loop>() ? find_in(kLoopMethods, name) : nullptr;
}

}  // namespace

bool method_exists(const Value& self, std::string_view name) { return find_method(self, name) != nullptr; }

Result<Value> call_method(Budget& budget, std::string_view name, const Value& self, const Arguments& arguments) {
  const Method* method = find_method(self, name);
  if (method == nullptr) return fail(ErrorCode::kUnsupported, "a {} has no method '{}' here", self.type_name(), name);
  LOCI_CHECK(budget.spend(Budget::kStep));
  return method->call(budget, self, arguments);
}

}  // namespace loci::jinja
