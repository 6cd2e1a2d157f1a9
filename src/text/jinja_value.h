// Values of the chat-template language: Python's, as far as templates see them.
//
// Values are immutable and shared; only a namespace() changes. Lists, dicts and namespaces hold plain data alone (no
// namespace, loop or function), so that values form no cycle and nest at most Budget::kMaxDepth deep. Whatever makes or
// walks a value spends from a Budget, which bounds the time and memory of a rendering. Not for use by two threads at
// once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"

namespace loci::jinja {

class Value;
struct Macro;  // a statement of the program, jinja_syntax.h

struct ListData;
struct DictData;
struct NamespaceData;
struct LoopData;
struct FunctionData;

struct Undefined {};
struct None {};

class Value {
 public:
  using String = std::shared_ptr<const std::string>;
  using List = std::shared_ptr<const ListData>;
  using Dict = std::shared_ptr<const DictData>;
  using Namespace = std::shared_ptr<NamespaceData>;
  using Loop = std::shared_ptr<const LoopData>;
  using Function = std::shared_ptr<const FunctionData>;
  using Data = std::variant<Undefined, None, bool, int64_t, double, String, List, Dict, Namespace, Loop, Function>;

  Value() = default;  // undefined
  Value(Data data) : data_(std::move(data)) {}
  static Value none() { return Value(Data(None{})); }
  static Value boolean(bool b) { return Value(Data(b)); }
  static Value integer(int64_t n) { return Value(Data(n)); }
  static Value real(double x) { return Value(Data(x)); }
  static Value text(std::string s) { return Value(Data(std::make_shared<const std::string>(std::move(s)))); }

  template <typename T>
  bool is() const {
    return std::holds_alternative<T>(data_);
  }
  template <typename T>
  const T& as() const {
    return std::get<T>(data_);
  }
  bool is_undefined() const { return is<Undefined>(); }
  bool is_none() const { return is<None>(); }
  bool is_string() const { return is<String>(); }
  bool is_list() const { return is<List>(); }
  bool is_dict() const { return is<Dict>(); }
  bool is_number() const { return is<bool>() || is<int64_t>() || is<double>(); }
  bool is_integer() const { return is<bool>() || is<int64_t>(); }
  const std::string& str() const { return *as<String>(); }
  const std::vector<Value>& items() const;
  int64_t to_integer() const { return is<bool>() ? as<bool>() : as<int64_t>(); }                      // of is_integer()
  double to_real() const { return is<double>() ? as<double>() : static_cast<double>(to_integer()); }  // of is_number()

  bool truthy() const;
  const char* type_name() const;  // as Python calls it, for messages

 private:
  Data data_;
};

struct ListData {
  std::vector<Value> items;
  bool tuple = false;
  int depth = 1;
};

struct DictData {
  std::vector<std::pair<Value, Value>> entries;  // in insertion order; keys are strings, numbers or none
  int depth = 1;
};

struct NamespaceData {
  std::vector<std::pair<std::string, Value>> fields;
};

struct LoopData {
  Value::List items;
  size_t index = 0;
};

// A macro, a builtin function, or a method with the value it belongs to.
struct FunctionData {
  std::string name;
  Value self;
  const Macro* macro = nullptr;
};

inline const std::vector<Value>& Value::items() const { return as<List>()->items; }

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  // The argument at `index` or called `name`; null if absent.
  const Value* get(size_t index, std::string_view name) const;
};

// What a rendering may still do. One unit is about one byte made or looked at; a step of evaluation costs kStep.
class Budget {
 public:
  static constexpr uint64_t kStep = 8;
  static constexpr uint64_t kItem = 64;  // a list or dict entry
  static constexpr int kMaxDepth = 64;   // of nested lists and dicts

  explicit Budget(uint64_t units) : units_(units) {}
  Status spend(uint64_t units);

  Result<Value> text(std::string s);
  Result<Value> list(std::vector<Value> items, bool tuple = false);
  Result<Value> dict(std::vector<std::pair<Value, Value>> entries);

 private:
  Result<int> depth_above(const Value& item) const;
  uint64_t units_;
};

// Only plain data may be kept in a list, dict or namespace.
bool is_plain_data(const Value& value);

Result<bool> equal(Budget& budget, const Value& a, const Value& b);
// a < b as Python has it: numbers, strings, lists. kInvalidArgument for anything else.
Result<bool> less(Budget& budget, const Value& a, const Value& b);
Result<bool> contains(Budget& budget, const Value& container, const Value& item);

// The value of a key, or undefined.
Result<Value> dict_get(Budget& budget, const DictData& dict, const Value& key);
// The elements that a `for` sees: items, a dict's keys, a string's characters, nothing for undefined.
Result<Value::List> iterate(Budget& budget, const Value& value);

// str(value), repr(value) and json.dumps(value) of Python. indent < 0: on one line.
Result<std::string> to_text(Budget& budget, const Value& value);
Result<std::string> to_repr(Budget& budget, const Value& value);
Result<std::string> to_json(Budget& budget, const Value& value, int indent, bool ascii_only, bool sort_keys);

// ---- What a template can call ----

bool filter_exists(std::string_view name);
bool test_exists(std::string_view name);
bool method_exists(const Value& self, std::string_view name);
Result<Value> call_filter(Budget& budget, std::string_view name, const Value& self, const Arguments& arguments);
Result<bool> call_test(Budget& budget, std::string_view name, const Value& self, const Arguments& arguments);
Result<Value> call_method(Budget& budget, std::string_view name, const Value& self, const Arguments& arguments);

}  // namespace loci::jinja
