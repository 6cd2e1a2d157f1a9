#include "io/json_fields.h"

#include <cmath>
#include <limits>

namespace loci {
namespace {

template <typename T>
Result<T> value_or(Result<std::optional<T>> field, T absent) {
  if (!field.ok()) return std::move(field).error();
  return field->has_value() ? std::move(**field) : std::move(absent);
}

}  // namespace

const nlohmann::json* JsonFields::find(std::string_view field) const {
  const auto it = object_.find(field);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

Error JsonFields::wrong(std::string_view field, std::string_view wanted) const {
  return fail(ErrorCode::kCorrupt, "'{}' in {} is not {}", field, where_, wanted);
}

Result<std::optional<uint32_t>> JsonFields::u32(std::string_view field) const {
  const nlohmann::json* value = find(field);
  if (value == nullptr) return std::optional<uint32_t>();
  constexpr uint64_t limit = std::numeric_limits<uint32_t>::max();
  if (value->is_number_unsigned() && value->get<uint64_t>() <= limit) {
    return std::optional(static_cast<uint32_t>(value->get<uint64_t>()));
  }
  // Some writers make whole numbers floats ("query_pre_attn_scalar": 256.0).
  if (value->is_number_float()) {
    const double x = value->get<double>();
    if (x >= 0 && x <= static_cast<double>(limit) && x == std::floor(x)) return std::optional(static_cast<uint32_t>(x));
  }
  return wrong(field, "a whole number from 0 to 4294967295");
}

Result<std::optional<double>> JsonFields::number(std::string_view field) const {
  const nlohmann::json* value = find(field);
  if (value == nullptr) return std::optional<double>();
  if (!value->is_number() || !std::isfinite(value->get<double>())) return wrong(field, "a finite number");
  return std::optional(value->get<double>());
}

Result<std::optional<bool>> JsonFields::flag(std::string_view field) const {
  const nlohmann::json* value = find(field);
  if (value == nullptr) return std::optional<bool>();
  if (!value->is_boolean()) return wrong(field, "true or false");
  return std::optional(value->get<bool>());
}

Result<std::optional<std::string>> JsonFields::text(std::string_view field) const {
  const nlohmann::json* value = find(field);
  if (value == nullptr) return std::optional<std::string>();
  if (!value->is_string()) return wrong(field, "a string");
  return std::optional(value->get<std::string>());
}

Result<std::optional<JsonFields>> JsonFields::object(std::string_view field) const {
  const nlohmann::json* value = find(field);
  if (value == nullptr) return std::optional<JsonFields>();
  if (!value->is_object()) return wrong(field, "an object");
  return std::optional<JsonFields>(std::in_place, *value, fmt::format("{} of {}", field, where_));
}

Result<uint32_t> JsonFields::required_u32(std::string_view field) const {
  LOCI_TRY(const std::optional<uint32_t> value, u32(field));
  if (value) return *value;
  return fail(ErrorCode::kNotFound, "{} has no '{}'", where_, field);
}

Result<uint32_t> JsonFields::u32_or(std::string_view field, uint32_t absent) const {
  return value_or(u32(field), absent);
}
Result<double> JsonFields::number_or(std::string_view field, double absent) const {
  return value_or(number(field), absent);
}
Result<bool> JsonFields::flag_or(std::string_view field, bool absent) const { return value_or(flag(field), absent); }
Result<std::string> JsonFields::text_or(std::string_view field, std::string absent) const {
  return value_or(text(field), std::move(absent));
}

}  // namespace loci
