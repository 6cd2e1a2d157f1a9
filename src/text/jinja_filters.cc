// The filters of the chat-template language, one function each.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja_text.h"
#include "text/jinja_value.h"

namespace loci::jinja {
namespace {

using Evaluated = Result<Value>;

Error filter_misuse(std::string_view filter, std::string_view what) {
  return fail(ErrorCode::kInvalidArgument, "the filter '{}' {}", filter, what);
}

bool flag(const Arguments& a, size_t index, std::string_view name) {
  const Value* given = a.get(index, name);
  return given != nullptr && given->truthy();
}

// An entry of a dict or element of a list by "a.b.0", as map(attribute=...) and its kin take it.
Evaluated attribute_of(Budget& budget, Value value, const Value& path) {
  if (path.is_integer()) {
    const int64_t at = path.to_integer();
    const bool inside = value.is_list() && at >= 0 && at < static_cast<int64_t>(value.items().size());
    return inside ? value.items()[static_cast<size_t>(at)] : Value();
  }
  if (!path.is_string()) return fail(ErrorCode::kInvalidArgument, "an attribute is named by a {}", path.type_name());
  LOCI_CHECK(budget.spend(path.str().size() + Budget::kStep));
  for (const std::string_view part : split(path.str(), ".", -1, false)) {
    int64_t index = 0;
    const auto number = std::from_chars(part.data(), part.data() + part.size(), index);
    if (value.is_dict()) {
      LOCI_TRY(value, dict_get(budget, *value.as<Value::Dict>(), Value::text(std::string(part))));
    } else if (number.ec == std::errc() && number.ptr == part.data() + part.size()) {
      LOCI_TRY(value, attribute_of(budget, value, Value::integer(index)));
    } else {
      return Value();
    }
  }
  return value;
}

// ---- Text ----------------------------------------------------------------------------------------------------------

template <std::string (*Change)(std::string_view)>
Evaluated filter_text(Budget& budget, const Value& self, const Arguments&) {
  LOCI_TRY(const std::string text, to_text(budget, self));
  LOCI_CHECK(budget.spend(text.size() * 4));
  return budget.text(Change(text));
}

Evaluated trim(Budget& budget, const Value& self, const Arguments& a) {
  LOCI_TRY(const std::string text, to_text(budget, self));
  const Value* set = a.get(0, "chars");
  if (set == nullptr || set->is_none()) return budget.text(std::string(strip(text, true, true)));
  if (!set->is_string()) return filter_misuse("trim", "takes the characters as a string");
  LOCI_CHECK(budget.spend(text.size() * 4 + set->str().size() * 4));
  return budget.text(std::string(strip(text, set->str(), true, true)));
}

Evaluated filter_replace(Budget& budget, const Value& self, const Arguments& a) {
  const Value *from = a.get(0, "old"), *to = a.get(1, "new"), *count = a.get(2, "count");
  if (from == nullptr || to == nullptr) return filter_misuse("replace", "needs the old and the new text");
  LOCI_TRY(const std::string text, to_text(budget, self));
  LOCI_TRY(const std::string old_text, to_text(budget, *from));
  LOCI_TRY(const std::string new_text, to_text(budget, *to));
  const int64_t limit = count != nullptr && count->is_integer() ? count->to_integer() : -1;
  LOCI_CHECK(budget.spend(replaced_bytes(text, old_text, new_text, limit)));
  return budget.text(replace(text, old_text, new_text, limit));
}

Evaluated indent_text(Budget& budget, const Value& self, const Arguments& a) {
  const Value* width = a.get(0, "width");
  std::string indention(4, ' ');
  if (width != nullptr && width->is_string()) indention = width->str();
  if (width != nullptr && width->is_integer()) {
    const int64_t count = std::max<int64_t>(width->to_integer(), 0);
    LOCI_CHECK(budget.spend(static_cast<uint64_t>(count)));
    indention.assign(static_cast<size_t>(count), ' ');
  }
  LOCI_TRY(std::string text, to_text(budget, self));
  text += '\n';
  const auto lines = split_lines(text);
  LOCI_CHECK(budget.spend(text.size() + lines.size() * (indention.size() + 1)));
  std::string out = flag(a, 1, "first") ? indention : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (!lines[i].empty() || flag(a, 2, "blank"))) out += indention;
    out += lines[i];
  }
  return budget.text(std::move(out));
}

Evaluated as_text(Budget& budget, const Value& self, const Arguments&) {
  LOCI_TRY(std::string text, to_text(budget, self));
  return budget.text(std::move(text));
}

Evaluated as_json(Budget& budget, const Value& self, const Arguments& a) {
  const Value* indent = a.get(1, "indent");
  if (a.get(2, "separators") != nullptr && !a.get(2, "separators")->is_none()) {
    return fail(ErrorCode::kUnsupported, "the filter 'tojson' with separators is not supported");
  }
  int spaces = -1;
  if (indent != nullptr && !indent->is_none()) {
    if (!indent->is_integer()) return filter_misuse("tojson", "takes the indent as an integer");
    spaces = static_cast<int>(std::clamp<int64_t>(indent->to_integer(), 0, 64));
  }
  LOCI_TRY(std::string text, to_json(budget, self, spaces, flag(a, 0, "ensure_ascii"), flag(a, 3, "sort_keys")));
  return budget.text(std::move(text));
}

Evaluated join(Budget& budget, const Value& self, const Arguments& a) {
  const Value *separator = a.get(0, "d"), *path = a.get(1, "attribute");
  LOCI_TRY(const std::string between, to_text(budget, separator != nullptr ? *separator : Value()));
  LOCI_TRY(const Value::List items, iterate(budget, self));
  std::string out;
  for (size_t i = 0; i < items->items.size(); ++i) {
    Value item = items->items[i];
    if (path != nullptr && !path->is_none()) {
      LOCI_TRY(item, attribute_of(budget, item, *path));
    }
    LOCI_TRY(const std::string text, to_text(budget, item));
    LOCI_CHECK(budget.spend(between.size() + text.size()));
    if (i > 0) out += between;
    out += text;
  }
  return budget.text(std::move(out));
}

// ---- Numbers -------------------------------------------------------------------------------------------------------

std::optional<double> parse_real(std::string_view text) {
  text = strip(text, true, true);
  if (!text.empty() && text[0] == '+') text.remove_prefix(1);
  double x = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), x);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return x;
}

std::optional<int64_t> parse_integer(std::string_view text, int base) {
  text = strip(text, true, true);
  if (!text.empty() && text[0] == '+') text.remove_prefix(1);
  int64_t n = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), n, base);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return n;
}

std::optional<int64_t> truncated(double x) {
  if (!(x > -9.2e18 && x < 9.2e18)) return std::nullopt;
  return static_cast<int64_t>(x);
}

Evaluated as_integer(Budget&, const Value& self, const Arguments& a) {
  const Value* fallback = a.get(0, "default");
  const Value* base = a.get(1, "base");
  std::optional<int64_t> n;
  if (self.is_integer()) n = self.to_integer();
  if (self.is<double>()) n = truncated(self.as<double>());
  if (self.is_string()) {
    const int64_t b = base != nullptr && base->is_integer() ? base->to_integer() : 10;
    if (b < 2 || b > 36) return filter_misuse("int", "takes a base from 2 to 36");
    n = parse_integer(self.str(), static_cast<int>(b));
    const auto real = n ? std::nullopt : parse_real(self.str());
    if (real) n = truncated(*real);
  }
  if (n) return Value::integer(*n);
  return fallback != nullptr ? *fallback : Value::integer(0);
}

Evaluated as_real(Budget&, const Value& self, const Arguments& a) {
  const Value* fallback = a.get(0, "default");
  if (self.is_number()) return Value::real(self.to_real());
  const auto x = self.is_string() ? parse_real(self.str()) : std::nullopt;
  if (x) return Value::real(*x);
  return fallback != nullptr ? *fallback : Value::real(0);
}

Evaluated absolute(Budget&, const Value& self, const Arguments&) {
  if (self.is<double>()) return Value::real(std::fabs(self.as<double>()));
  if (!self.is_integer() || self.to_integer() == INT64_MIN) return filter_misuse("abs", "takes a number of 64 bits");
  return Value::integer(std::abs(self.to_integer()));
}

Evaluated rounded(Budget&, const Value& self, const Arguments& a) {
  const Value *precision = a.get(0, "precision"), *method = a.get(1, "method");
  if (!self.is_number()) return filter_misuse("round", "takes a number");
  const std::string how = method != nullptr && method->is_string() ? method->str() : "common";
  const int64_t digits = precision != nullptr && precision->is_integer() ? precision->to_integer() : 0;
  const double scale = std::pow(10.0, static_cast<double>(std::clamp<int64_t>(digits, -300, 300)));
  const double x = self.to_real() * scale;
  return Value::real((how == "ceil" ? std::ceil(x) : how == "floor" ? std::floor(x) : std::nearbyint(x)) / scale);
}

// ---- Sequences -----------------------------------------------------------------------------------------------------

Evaluated length(Budget& budget, const Value& self, const Arguments&) {
  if (self.is_list()) return Value::integer(static_cast<int64_t>(self.items().size()));
  if (self.is_dict()) return Value::integer(static_cast<int64_t>(self.as<Value::Dict>()->entries.size()));
  if (self.is_undefined()) return Value::integer(0);
  if (!self.is_string()) return filter_misuse("length", fmt::format("has no meaning for a {}", self.type_name()));
  LOCI_CHECK(budget.spend(self.str().size()));
  return Value::integer(static_cast<int64_t>(count_characters(self.str())));
}

Evaluated as_list(Budget& budget, const Value& self, const Arguments&) {
  LOCI_TRY(const Value::List items, iterate(budget, self));
  LOCI_CHECK(budget.spend(items->items.size() * Budget::kItem));
  return budget.list(items->items);
}

Evaluated first(Budget& budget, const Value& self, const Arguments&) {
  LOCI_TRY(const Value::List items, iterate(budget, self));
  return items->items.empty() ? Value() : items->items.front();
}

Evaluated last(Budget& budget, const Value& self, const Arguments&) {
  LOCI_TRY(const Value::List items, iterate(budget, self));
  return items->items.empty() ? Value() : items->items.back();
}

Evaluated reversed(Budget& budget, const Value& self, const Arguments&) {
  LOCI_TRY(const Value::List items, iterate(budget, self));
  LOCI_CHECK(budget.spend(items->items.size() * Budget::kItem));
  std::vector<Value> out(items->items.rbegin(), items->items.rend());
  if (!self.is_string()) return budget.list(std::move(out));
  std::string text;
  for (const Value& one : out) text += one.str();
  return budget.text(std::move(text));
}

Evaluated pairs_of(Budget& budget, const DictData& dict) {
  std::vector<Value> out;
  for (const auto& [key, value] : dict.entries) {
    LOCI_TRY(Value pair, budget.list({key, value}, true));
    out.push_back(std::move(pair));
  }
  return budget.list(std::move(out));
}

Evaluated items_of(Budget& budget, const Value& self, const Arguments&) {
  if (self.is_undefined()) return budget.list({});
  if (!self.is_dict()) return filter_misuse("items", fmt::format("takes a dict, not a {}", self.type_name()));
  return pairs_of(budget, *self.as<Value::Dict>());
}

Evaluated sort_key(Budget& budget, const Value& item, const Value* path, bool case_sensitive) {
  Value key = item;
  if (path != nullptr && !path->is_none()) {
    LOCI_TRY(key, attribute_of(budget, item, *path));
  }
  if (case_sensitive || !key.is_string()) return key;
  LOCI_CHECK(budget.spend(key.str().size() * 4));
  return budget.text(lower(key.str()));
}

// A stable merge sort, which bears a comparison that fails midway.
Status merge_sort(Budget& budget, std::vector<std::pair<Value, Value>>& keyed, bool reverse) {
  std::vector<std::pair<Value, Value>> merged(keyed.size());
  for (size_t width = 1; width < keyed.size(); width *= 2) {
    for (size_t begin = 0; begin < keyed.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, keyed.size()), end = std::min(begin + 2 * width, keyed.size());
      size_t a = begin, b = middle;
      for (size_t out = begin; out < end; ++out) {
        bool take_right = a == middle;
        if (a < middle && b < end) {
          LOCI_TRY(take_right, reverse ? less(budget, keyed[a].first, keyed[b].first)
                                       : less(budget, keyed[b].first, keyed[a].first));
        }
        merged[out] = std::move(keyed[take_right ? b++ : a++]);
      }
    }
    keyed.swap(merged);
  }
  return {};
}

Evaluated sorted(Budget& budget, const Value::List& items, const Value* path, bool case_sensitive, bool reverse) {
  std::vector<std::pair<Value, Value>> keyed;
  LOCI_CHECK(budget.spend(items->items.size() * Budget::kItem));
  for (const Value& item : items->items) {
    LOCI_TRY(Value key, sort_key(budget, item, path, case_sensitive));
    keyed.emplace_back(std::move(key), item);
  }
  LOCI_CHECK(merge_sort(budget, keyed, reverse));
  std::vector<Value> out;
  for (auto& entry : keyed) out.push_back(std::move(entry.second));
  return budget.list(std::move(out));
}

Evaluated sort(Budget& budget, const Value& self, const Arguments& a) {
  LOCI_TRY(const Value::List items, iterate(budget, self));
  return sorted(budget, items, a.get(2, "attribute"), flag(a, 1, "case_sensitive"), flag(a, 0, "reverse"));
}

Evaluated dictsort(Budget& budget, const Value& self, const Arguments& a) {
  if (!self.is_dict()) return filter_misuse("dictsort", fmt::format("takes a dict, not a {}", self.type_name()));
  const Value* by = a.get(1, "by");
  const Value part = Value::integer(by != nullptr && by->is_string() && by->str() == "value" ? 1 : 0);
  LOCI_TRY(const Value pairs, pairs_of(budget, *self.as<Value::Dict>()));
  return sorted(budget, pairs.as<Value::List>(), &part, flag(a, 0, "case_sensitive"), flag(a, 2, "reverse"));
}

Evaluated unique(Budget& budget, const Value& self, const Arguments& a) {
  LOCI_TRY(const Value::List items, iterate(budget, self));
  std::vector<Value> seen, out;
  for (const Value& item : items->items) {
    LOCI_TRY(Value key, sort_key(budget, item, a.get(1, "attribute"), flag(a, 0, "case_sensitive")));
    bool known = false;
    for (size_t i = 0; i < seen.size() && !known; ++i) {
      LOCI_TRY(known, equal(budget, seen[i], key));
    }
    if (known) continue;
    seen.push_back(std::move(key));
    out.push_back(item);
  }
  return budget.list(std::move(out));
}

template <bool kLargest>
Evaluated extreme(Budget& budget, const Value& self, const Arguments& a) {
  LOCI_TRY(const Value::List items, iterate(budget, self));
  Value best, best_key;
  for (size_t i = 0; i < items->items.size(); ++i) {
    LOCI_TRY(Value key, sort_key(budget, items->items[i], a.get(1, "attribute"), flag(a, 0, "case_sensitive")));
    bool better = i == 0;
    if (!better) {
      LOCI_TRY(better, kLargest ? less(budget, best_key, key) : less(budget, key, best_key));
    }
    if (!better) continue;
    best = items->items[i];
    best_key = std::move(key);
  }
  return best;
}

Evaluated sum(Budget& budget, const Value& self, const Arguments& a) {
  LOCI_TRY(const Value::List items, iterate(budget, self));
  const Value* path = a.get(0, "attribute");
  double real = 0;
  int64_t integer = 0;
  bool whole = true;
  for (Value item : items->items) {
    if (path != nullptr && !path->is_none()) {
      LOCI_TRY(item, attribute_of(budget, item, *path));
    }
    if (!item.is_number()) return filter_misuse("sum", fmt::format("meets a {}", item.type_name()));
    whole = whole && item.is_integer();
    real += item.to_real();
    if (whole && __builtin_add_overflow(integer, item.to_integer(), &integer))
      return filter_misuse("sum", "leaves 64 bits");
  }
  return whole ? Value::integer(integer) : Value::real(real);
}

// ---- Filters that take filters and tests ---------------------------------------------------------------------------

Arguments without_first(const Arguments& a, size_t count) {
  Arguments out = a;
  out.positional.erase(out.positional.begin(),
                       out.positional.begin() + static_cast<ptrdiff_t>(std::min(count, a.positional.size())));
  return out;
}

Evaluated map(Budget& budget, const Value& self, const Arguments& a) {
  LOCI_TRY(const Value::List items, iterate(budget, self));
  const Value *path = a.get(SIZE_MAX, "attribute"), *fallback = a.get(SIZE_MAX, "default");
  if (path == nullptr &&
      (a.positional.empty() || !a.positional[0].is_string() || !filter_exists(a.positional[0].str()))) {
    return filter_misuse("map", "needs attribute= or the name of a filter");
  }
  const Arguments rest = without_first(a, 1);
  std::vector<Value> out;
  for (const Value& item : items->items) {
    Value mapped;
    if (path != nullptr) {
      LOCI_TRY(mapped, attribute_of(budget, item, *path));
      if (mapped.is_undefined() && fallback != nullptr) mapped = *fallback;
    } else {
      LOCI_TRY(mapped, call_filter(budget, a.positional[0].str(), item, rest));
    }
    out.push_back(std::move(mapped));
  }
  return budget.list(std::move(out));
}

Evaluated selected(Budget& budget, const Value& self, const Arguments& a, bool by_attribute, bool wanted) {
  LOCI_TRY(const Value::List items, iterate(budget, self));
  const size_t at = by_attribute ? 1 : 0;
  if (by_attribute && a.positional.empty()) return filter_misuse("selectattr", "needs an attribute");
  const bool has_test = a.positional.size() > at;
  if (has_test && (!a.positional[at].is_string() || !test_exists(a.positional[at].str()))) {
    return filter_misuse(by_attribute ? "selectattr" : "select", "names a test that is not supported");
  }
  const Arguments rest = without_first(a, at + 1);
  std::vector<Value> out;
  for (const Value& item : items->items) {
    Value subject = item;
    if (by_attribute) {
      LOCI_TRY(subject, attribute_of(budget, item, a.positional[0]));
    }
    bool holds = subject.truthy();
    if (has_test) {
      LOCI_TRY(holds, call_test(budget, a.positional[at].str(), subject, rest));
    }
    if (holds == wanted) out.push_back(item);
  }
  return budget.list(std::move(out));
}

template <bool kByAttribute, bool kWanted>
Evaluated select(Budget& budget, const Value& self, const Arguments& a) {
  return selected(budget, self, a, kByAttribute, kWanted);
}

// ---- The rest ------------------------------------------------------------------------------------------------------

Evaluated with_default(Budget& budget, const Value& self, const Arguments& a) {
  if (!self.is_undefined() && !(flag(a, 1, "boolean") && !self.truthy())) return self;
  const Value* fallback = a.get(0, "default_value");
  return fallback != nullptr ? Evaluated(*fallback) : budget.text("");
}

Evaluated attribute(Budget& budget, const Value& self, const Arguments& a) {
  const Value* name = a.get(0, "name");
  if (name == nullptr) return filter_misuse("attr", "needs a name");
  return attribute_of(budget, self, *name);
}

struct Filter {
  std::string_view name;
  Evaluated (*call)(Budget&, const Value&, const Arguments&);
};

constexpr auto kFilters = std::to_array<Filter>({
    {"abs", absolute},
    {"attr", attribute},
    {"capitalize", filter_text<capitalize>},
    {"count", length},
    {"d", with_default},
    {"default", with_default},
    {"dictsort", dictsort},
    {"e", filter_text<html_escaped>},
    {"escape", filter_text<html_escaped>},
    {"first", first},
    {"float", as_real},
    {"indent", indent_text},
    {"int", as_integer},
    {"items", items_of},
    {"join", join},
    {"last", last},
    {"length", length},
    {"list", as_list},
    {"lower", filter_text<lower>},
    {"map", map},
    {"max", extreme<true>},
    {"min", extreme<false>},
    {"reject", select<false, false>},
    {"rejectattr", select<true, false>},
    {"replace", filter_replace},
    {"reverse", reversed},
    {"round", rounded},
    {"safe", as_text},
    {"select", select<false, true>},
    {"selectattr", select<true, true>},
    {"sort", sort},
    {"string", as_text},
    {"sum", sum},
    {"title", filter_text<title_words>},
    {"tojson", as_json},
    {"trim", trim},
    {"unique", unique},
    {"upper", filter_text<upper>},
});

const Filter* find_filter(std::string_view name) {
  const auto found = std::find_if(kFilters.begin(), kFilters.end(), [&](const Filter& f) { return f.name == name; });
  return found == kFilters.end() ? nullptr : &*found;
}

}  // namespace

bool filter_exists(std::string_view name) { return find_filter(name) != nullptr; }

Result<Value> call_filter(Budget& budget, std::string_view name, const Value& self, const Arguments& arguments) {
  const Filter* filter = find_filter(name);
  if (filter == nullptr) return fail(ErrorCode::kUnsupported, "the filter '{}' is not supported", name);
  LOCI_CHECK(budget.spend(Budget::kStep));
  return filter->call(budget, self, arguments);
}

}  // namespace loci::jinja
