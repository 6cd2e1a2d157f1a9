#include "serve/fields.h"

#include <cmath>

#include "base/error.h"

namespace loci {

using json = nlohmann::ordered_json;

const char* kind_of(const json& value) {
  switch (value.type()) {
    case json::value_t::null:
      return "null";
    case json::value_t::object:
      return "an object";
    case json::value_t::array:
      return "an array";
    case json::value_t::string:
      return "a string";
    case json::value_t::boolean:
      return "a boolean";
    case json::value_t::number_integer:
    case json::value_t::number_unsigned:
      return "an integer";
    case json::value_t::number_float:
      return "a number";
    default:
      return "something else";
  }
}

Fields::Fields(const json& object, std::string where, std::optional<ApiError>& problem)
    : object_(&object), where_(std::move(where)), problem_(problem) {
  if (!object.is_object()) {
    wrong("", fmt::format("an object is expected, but this is {}", kind_of(object)), "invalid_type");
    object_ = nullptr;
  } else if (object.size() > kMostFields) {
    wrong("", fmt::format("the object has {} fields, at most {} are allowed", object.size(), kMostFields));
    object_ = nullptr;
  }
}

std::string Fields::path(std::string_view name) const {
  if (where_.empty()) return std::string(name);
  return name.empty() ? where_ : fmt::format("{}.{}", where_, name);
}

void Fields::wrong(std::string_view name, std::string message, std::string code) {
  if (problem_) return;
  std::string of = path(name);
  problem_ = ApiError{.message = of.empty() ? std::move(message) : fmt::format("Invalid '{}': {}", of, message),
                      .param = of,
                      .code = std::move(code)};
}

const json* Fields::find(std::string_view name) {
  asked_.emplace(name);
  if (object_ == nullptr) return nullptr;
  const auto found = object_->find(name);
  if (found == object_->end() || found->is_null()) return nullptr;
  return &*found;
}

std::optional<double> Fields::number(std::string_view name, double least, double most) {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) {
    wrong(name, fmt::format("a number is expected, but this is {}", kind_of(*value)), "invalid_type");
    return std::nullopt;
  }
  const auto number = value->get<double>();
  if (!(number >= least && number <= most)) {
    wrong(name, fmt::format("{} is out of range, it must lie in [{}, {}]", number, least, most));
    return std::nullopt;
  }
  return number;
}

std::optional<int64_t> Fields::integer(std::string_view name, int64_t least, int64_t most) {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) {
    wrong(name, fmt::format("an integer is expected, but this is {}", kind_of(*value)), "invalid_type");
    return std::nullopt;
  }
  const bool huge = value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX;
  if (huge || value->get<int64_t>() < least || value->get<int64_t>() > most) {
    wrong(name, fmt::format("{} is out of range, it must lie in [{}, {}]", value->dump(), least, most));
    return std::nullopt;
  }
  return value->get<int64_t>();
}

std::optional<uint64_t> Fields::seed(std::string_view name) {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) {
    wrong(name, fmt::format("an integer of 64 bits is expected, but this is {}", kind_of(*value)), "invalid_type");
    return std::nullopt;
  }
  return value->is_number_unsigned() ? value->get<uint64_t>() : static_cast<uint64_t>(value->get<int64_t>());
}

std::optional<bool> Fields::flag(std::string_view name) {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) {
    wrong(name, fmt::format("true or false is expected, but this is {}", kind_of(*value)), "invalid_type");
    return std::nullopt;
  }
  return value->get<bool>();
}

std::optional<std::string> Fields::text(std::string_view name, size_t most_bytes) {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    wrong(name, fmt::format("a string is expected, but this is {}", kind_of(*value)), "invalid_type");
    return std::nullopt;
  }
  const auto& text = value->get_ref<const std::string&>();
  if (text.size() > most_bytes) {
    wrong(name, fmt::format("the string has {} bytes, at most {} are allowed", text.size(), most_bytes));
    return std::nullopt;
  }
  return text;
}

const json* Fields::array(std::string_view name, size_t most) {
  const json* value = find(name);
  if (value == nullptr) return nullptr;
  if (!value->is_array()) {
    wrong(name, fmt::format("an array is expected, but this is {}", kind_of(*value)), "invalid_type");
    return nullptr;
  }
  if (value->size() > most) {
    wrong(name, fmt::format("the array has {} entries, at most {} are allowed", value->size(), most));
    return nullptr;
  }
  return value;
}

const json* Fields::object(std::string_view name) {
  const json* value = find(name);
  if (value == nullptr) return nullptr;
  if (!value->is_object()) {
    wrong(name, fmt::format("an object is expected, but this is {}", kind_of(*value)), "invalid_type");
    return nullptr;
  }
  return value;
}

void Fields::ignore(std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) asked_.emplace(name);
}

void Fields::only(std::string_view name, const json& harmless) {
  const json* value = find(name);
  if (value == nullptr || *value == harmless) return;
  wrong(name, fmt::format("this server supports {} only", harmless.dump()), "unsupported_value");
}

void Fields::refuse_unknown() {
  if (object_ == nullptr) return;
  for (const auto& [full_name, value] : object_->items()) {
    const std::string name = full_name.substr(0, 64);
    if (asked_.find(full_name) == asked_.end()) {
      if (!problem_) {
        problem_ = ApiError{.message = fmt::format("Unknown field: '{}'", path(name)),
                            .param = path(name),
                            .code = "unknown_parameter"};
      }
      return;
    }
  }
}

}  // namespace loci
