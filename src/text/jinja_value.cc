#include "text/jinja_value.h"

#include <algorithm>

#include "text/jinja_text.h"

namespace loci::jinja {

bool Value::truthy() const {
  if (is<bool>()) return as<bool>();
  if (is<int64_t>()) return as<int64_t>() != 0;
  if (is<double>()) return as<double>() != 0;
  if (is_string()) return !str().empty();
  if (is_list()) return !items().empty();
  if (is_dict()) return !as<Dict>()->entries.empty();
  return !is_undefined() && !is_none();
}

const char* Value::type_name() const {
  static constexpr const char* kNames[] = {"undefined", "NoneType", "bool",      "int",  "float",   "str",
                                           "list",      "dict",     "namespace", "loop", "function"};
  return kNames[data_.index()];
}

const Value* Arguments::get(size_t index, std::string_view name) const {
  if (index < positional.size()) return &positional[index];
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

bool is_plain_data(const Value& value) {
  return !value.is<Value::Namespace>() && !value.is<Value::Loop>() && !value.is<Value::Function>();
}

// ---- Budget --------------------------------------------------------------------------------------------------------

Status Budget::spend(uint64_t units) {
  if (units > units_) {
    units_ = 0;
    return fail(ErrorCode::kLimit, "the chat template takes more time or memory than a conversation of this size may");
  }
  units_ -= units;
  return {};
}

Result<Value> Budget::text(std::string s) {
  LOCI_CHECK(spend(s.size() + kStep));
  return Value::text(std::move(s));
}

Result<int> Budget::depth_above(const Value& item) const {
  if (!is_plain_data(item)) {
    return fail(ErrorCode::kUnsupported, "the chat template keeps a {} in a list or dict", item.type_name());
  }
  const int depth = item.is_list() ? item.as<Value::List>()->depth : item.is_dict() ? item.as<Value::Dict>()->depth : 0;
  if (depth >= kMaxDepth) {
    return fail(ErrorCode::kLimit, "the chat template nests lists or dicts more than {} deep", kMaxDepth);
  }
  return depth + 1;
}

Result<Value> Budget::list(std::vector<Value> items, bool tuple) {
  LOCI_CHECK(spend(items.size() * kItem + kStep));
  auto data = std::make_shared<ListData>();
  data->tuple = tuple;
  for (const Value& item : items) {
    LOCI_TRY(const int depth, depth_above(item));
    data->depth = std::max(data->depth, depth);
  }
  data->items = std::move(items);
  return Value(Value::Data(Value::List(std::move(data))));
}

// Later entries win over earlier ones of the same key, as in a dict display.
Result<Value> Budget::dict(std::vector<std::pair<Value, Value>> entries) {
  auto data = std::make_shared<DictData>();
  for (auto& [key, value] : entries) {
    LOCI_CHECK(spend(kItem));
    if (!key.is_string() && !key.is_number() && !key.is_none()) {
      return fail(ErrorCode::kInvalidArgument, "the chat template uses a {} as the key of a dict", key.type_name());
    }
    LOCI_TRY(const int depth, depth_above(value));
    data->depth = std::max(data->depth, depth);
    bool found = false;
    for (auto& [known, old] : data->entries) {
      LOCI_TRY(found, equal(*this, known, key));
      if (!found) continue;
      old = std::move(value);
      break;
    }
    if (!found) data->entries.emplace_back(std::move(key), std::move(value));
  }
  return Value(Value::Data(Value::Dict(std::move(data))));
}

// ---- Comparing -----------------------------------------------------------------------------------------------------

namespace {

Result<bool> equal_lists(Budget& budget, const ListData& a, const ListData& b) {
  if (a.tuple != b.tuple || a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i) {
    LOCI_TRY(const bool same, equal(budget, a.items[i], b.items[i]));
    if (!same) return false;
  }
  return true;
}

Result<bool> equal_dicts(Budget& budget, const DictData& a, const DictData& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    LOCI_TRY(const Value other, dict_get(budget, b, key));
    LOCI_TRY(const bool same, equal(budget, value, other));
    if (!same) return false;
  }
  return true;
}

}  // namespace

Result<bool> equal(Budget& budget, const Value& a, const Value& b) {
  LOCI_CHECK(budget.spend(Budget::kStep));
  if (a.is_integer() && b.is_integer()) return a.to_integer() == b.to_integer();
  if (a.is_number() && b.is_number()) return a.to_real() == b.to_real();
  if (a.is_string() && b.is_string()) {
    if (a.str().size() != b.str().size()) return false;
    LOCI_CHECK(budget.spend(a.str().size() / 8));
    return a.str() == b.str();
  }
  if (a.is_list() && b.is_list()) return equal_lists(budget, *a.as<Value::List>(), *b.as<Value::List>());
  if (a.is_dict() && b.is_dict()) return equal_dicts(budget, *a.as<Value::Dict>(), *b.as<Value::Dict>());
  if (a.is<Value::Namespace>() && b.is<Value::Namespace>()) return a.as<Value::Namespace>() == b.as<Value::Namespace>();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

Result<bool> less(Budget& budget, const Value& a, const Value& b) {
  LOCI_CHECK(budget.spend(Budget::kStep));
  if (a.is_integer() && b.is_integer()) return a.to_integer() < b.to_integer();
  if (a.is_number() && b.is_number()) return a.to_real() < b.to_real();
  if (a.is_string() && b.is_string()) {
    LOCI_CHECK(budget.spend(std::min(a.str().size(), b.str().size()) / 8));
    return a.str() < b.str();
  }
  if (!a.is_list() || !b.is_list()) {
    return fail(ErrorCode::kInvalidArgument, "the chat template compares a {} with a {}", a.type_name(), b.type_name());
  }
  const size_t shared = std::min(a.items().size(), b.items().size());
  for (size_t i = 0; i < shared; ++i) {
    LOCI_TRY(const bool same, equal(budget, a.items()[i], b.items()[i]));
    if (!same) return less(budget, a.items()[i], b.items()[i]);
  }
  return a.items().size() < b.items().size();
}

Result<bool> contains(Budget& budget, const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      return fail(ErrorCode::kInvalidArgument, "the chat template looks for a {} in a string", item.type_name());
    }
    LOCI_CHECK(budget.spend((container.str().size() + item.str().size()) / 4 + Budget::kStep));
    return position_of(container.str(), item.str()).has_value();
  }
  LOCI_TRY(const Value::List items, iterate(budget, container));
  for (const Value& candidate : items->items) {
    LOCI_TRY(const bool same, equal(budget, candidate, item));
    if (same) return true;
  }
  return false;
}

Result<Value> dict_get(Budget& budget, const DictData& dict, const Value& key) {
  for (const auto& [known, value] : dict.entries) {
    LOCI_TRY(const bool same, equal(budget, known, key));
    if (same) return value;
  }
  return Value();
}

Result<Value::List> iterate(Budget& budget, const Value& value) {
  if (value.is_list()) return value.as<Value::List>();
  std::vector<Value> items;
  if (value.is_dict()) {
    for (const auto& entry : value.as<Value::Dict>()->entries) items.push_back(entry.first);
  } else if (value.is_string()) {
    const std::string& s = value.str();
    for (size_t at = 0; at < s.size();) {
      const size_t bytes = character_bytes(s, at);
      LOCI_TRY(Value one, budget.text(s.substr(at, bytes)));
      items.push_back(std::move(one));
      at += bytes;
    }
  } else if (!value.is_undefined()) {
    return fail(ErrorCode::kInvalidArgument, "the chat template iterates over a {}", value.type_name());
  }
  LOCI_TRY(const Value list, budget.list(std::move(items)));
  return list.as<Value::List>();
}

// ---- As text -------------------------------------------------------------------------------------------------------

namespace {

Status append(Budget& budget, std::string& out, std::string_view text) {
  LOCI_CHECK(budget.spend(text.size()));
  out.append(text);
  return {};
}

Status append_repr(Budget& budget, std::string& out, const Value& value);

Status append_list_repr(Budget& budget, std::string& out, const ListData& list) {
  out += list.tuple ? '(' : '[';
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out += ", ";
    LOCI_CHECK(append_repr(budget, out, list.items[i]));
  }
  if (list.tuple && list.items.size() == 1) out += ',';
  return append(budget, out, list.tuple ? ")" : "]");
}

Status append_dict_repr(Budget& budget, std::string& out, const DictData& dict) {
  const char* separator = "{";
  for (const auto& [key, value] : dict.entries) {
    LOCI_CHECK(append(budget, out, separator));
    LOCI_CHECK(append_repr(budget, out, key));
    out += ": ";
    LOCI_CHECK(append_repr(budget, out, value));
    separator = ", ";
  }
  return append(budget, out, dict.entries.empty() ? "{}" : "}");
}

std::string scalar_text(const Value& value) {
  if (value.is_none()) return "None";
  if (value.is<bool>()) return value.as<bool>() ? "True" : "False";
  if (value.is<int64_t>()) return fmt::format("{}", value.as<int64_t>());
  if (value.is<double>()) return real_text(value.as<double>());
  return "";
}

Status append_repr(Budget& budget, std::string& out, const Value& value) {
  LOCI_CHECK(budget.spend(Budget::kStep));
  if (value.is_string()) return append(budget, out, quoted(value.str()));
  if (value.is_list()) return append_list_repr(budget, out, *value.as<Value::List>());
  if (value.is_dict()) return append_dict_repr(budget, out, *value.as<Value::Dict>());
  if (value.is_undefined()) return append(budget, out, "Undefined");
  if (!is_plain_data(value)) {
    return fail(ErrorCode::kUnsupported, "the chat template prints a {}", value.type_name());
  }
  return append(budget, out, scalar_text(value));
}

struct JsonStyle {
  int indent = -1;
  bool ascii_only = false;
  bool sort_keys = false;
};

Status append_json(Budget& budget, std::string& out, const Value& value, const JsonStyle& style, int level);

// Between brackets, before an element and after the last one.
Status append_break(Budget& budget, std::string& out, const JsonStyle& style, int level) {
  if (style.indent < 0) return {};
  LOCI_CHECK(budget.spend(static_cast<uint64_t>(style.indent) * static_cast<uint64_t>(level) + 1));
  out += '\n';
  out.append(static_cast<size_t>(style.indent) * static_cast<size_t>(level), ' ');
  return {};
}

Status append_json_list(Budget& budget, std::string& out, const ListData& list, const JsonStyle& style, int level) {
  if (list.items.empty()) return append(budget, out, "[]");
  out += '[';
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out += style.indent < 0 ? ", " : ",";
    LOCI_CHECK(append_break(budget, out, style, level + 1));
    LOCI_CHECK(append_json(budget, out, list.items[i], style, level + 1));
  }
  LOCI_CHECK(append_break(budget, out, style, level));
  return append(budget, out, "]");
}

std::string json_key(const Value& key, const JsonStyle& style) {
  if (key.is_string()) return json_quoted(key.str(), style.ascii_only);
  if (key.is<bool>()) return key.as<bool>() ? "\"true\"" : "\"false\"";
  return key.is_none() ? "\"null\"" : json_quoted(scalar_text(key), true);
}

Status append_json_dict(Budget& budget, std::string& out, const DictData& dict, const JsonStyle& style, int level) {
  if (dict.entries.empty()) return append(budget, out, "{}");
  std::vector<std::pair<std::string, const Value*>> entries;
  for (const auto& [key, value] : dict.entries) entries.emplace_back(json_key(key, style), &value);
  LOCI_CHECK(budget.spend(entries.size() * Budget::kItem));
  if (style.sort_keys) {
    std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  }
  out += '{';
  for (size_t i = 0; i < entries.size(); ++i) {
    if (i > 0) out += style.indent < 0 ? ", " : ",";
    LOCI_CHECK(append_break(budget, out, style, level + 1));
    LOCI_CHECK(append(budget, out, entries[i].first));
    out += ": ";
    LOCI_CHECK(append_json(budget, out, *entries[i].second, style, level + 1));
  }
  LOCI_CHECK(append_break(budget, out, style, level));
  return append(budget, out, "}");
}

Status append_json(Budget& budget, std::string& out, const Value& value, const JsonStyle& style, int level) {
  LOCI_CHECK(budget.spend(Budget::kStep));
  if (value.is_string()) return append(budget, out, json_quoted(value.str(), style.ascii_only));
  if (value.is_list()) return append_json_list(budget, out, *value.as<Value::List>(), style, level);
  if (value.is_dict()) return append_json_dict(budget, out, *value.as<Value::Dict>(), style, level);
  if (value.is_none()) return append(budget, out, "null");
  if (value.is<bool>()) return append(budget, out, value.as<bool>() ? "true" : "false");
  if (value.is_number()) return append(budget, out, scalar_text(value));
  return fail(ErrorCode::kInvalidArgument, "the chat template writes a {} as JSON", value.type_name());
}

}  // namespace

Result<std::string> to_repr(Budget& budget, const Value& value) {
  std::string out;
  LOCI_CHECK(append_repr(budget, out, value));
  return out;
}

Result<std::string> to_text(Budget& budget, const Value& value) {
  if (value.is_undefined()) return std::string();
  if (!value.is_string()) return to_repr(budget, value);
  LOCI_CHECK(budget.spend(value.str().size()));
  return value.str();
}

Result<std::string> to_json(Budget& budget, const Value& value, int indent, bool ascii_only, bool sort_keys) {
  std::string out;
  LOCI_CHECK(append_json(budget, out, value, JsonStyle{indent, ascii_only, sort_keys}, 0));
  return out;
}

}  // namespace loci::jinja
