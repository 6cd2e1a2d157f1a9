#include <limits>

#include "io/model_file.h"

namespace loci {
namespace {

Error absent_key(std::string_view key) { return fail(ErrorCode::kNotFound, "the model has no metadata key '{}'", key); }

Error wrong_type(std::string_view key, const char* wanted) {
  return fail(ErrorCode::kCorrupt, "metadata key '{}' is not {}", key, wanted);
}

Result<uint32_t> to_u32(std::string_view key, const MetaValue& value) {
  constexpr uint64_t limit = std::numeric_limits<uint32_t>::max();
  if (const auto* u = std::get_if<uint64_t>(&value)) {
    if (*u <= limit) return static_cast<uint32_t>(*u);
    return fail(ErrorCode::kCorrupt, "metadata key '{}' is {}, above the limit of {}", key, *u, limit);
  }
  if (const auto* i = std::get_if<int64_t>(&value)) {
    if (*i >= 0 && static_cast<uint64_t>(*i) <= limit) return static_cast<uint32_t>(*i);
    return fail(ErrorCode::kCorrupt, "metadata key '{}' is {}, outside 0 to {}", key, *i, limit);
  }
  return wrong_type(key, "an integer");
}

Result<double> to_number(std::string_view key, const MetaValue& value) {
  if (const auto* d = std::get_if<double>(&value)) return *d;
  if (const auto* u = std::get_if<uint64_t>(&value)) return static_cast<double>(*u);
  if (const auto* i = std::get_if<int64_t>(&value)) return static_cast<double>(*i);
  return wrong_type(key, "a number");
}

Result<std::string> to_text(std::string_view key, const MetaValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  return wrong_type(key, "a string");
}

}  // namespace

const MetaValue* Metadata::find(std::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

Result<uint32_t> Metadata::u32(std::string_view key) const {
  const MetaValue* value = find(key);
  return value ? to_u32(key, *value) : absent_key(key);
}

Result<double> Metadata::number(std::string_view key) const {
  const MetaValue* value = find(key);
  return value ? to_number(key, *value) : absent_key(key);
}

Result<std::string> Metadata::text(std::string_view key) const {
  const MetaValue* value = find(key);
  return value ? to_text(key, *value) : absent_key(key);
}

Result<uint32_t> Metadata::u32_or(std::string_view key, uint32_t absent) const {
  const MetaValue* value = find(key);
  return value ? to_u32(key, *value) : absent;
}

Result<double> Metadata::number_or(std::string_view key, double absent) const {
  const MetaValue* value = find(key);
  return value ? to_number(key, *value) : absent;
}

Result<bool> Metadata::flag_or(std::string_view key, bool absent) const {
  const MetaValue* value = find(key);
  if (value == nullptr) return absent;
  if (const auto* flag = std::get_if<bool>(value)) return *flag;
  return wrong_type(key, "true or false");
}

Result<std::string> Metadata::text_or(std::string_view key, std::string absent) const {
  const MetaValue* value = find(key);
  return value ? to_text(key, *value) : std::move(absent);
}

}  // namespace loci
