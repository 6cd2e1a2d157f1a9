// Typed reading of an object's fields in a configuration file. A field that is null counts as absent; one of another
// type is an error that names the file and the field. A view: the document must outlive it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace loci {

class JsonFields {
 public:
  // `where` names the object in errors: "config.json". `object` must be a JSON object.
  JsonFields(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {}

  const nlohmann::json* find(std::string_view field) const;  // nullptr if absent or null

  Result<std::optional<uint32_t>> u32(std::string_view field) const;
  Result<std::optional<double>> number(std::string_view field) const;  // finite
  Result<std::optional<bool>> flag(std::string_view field) const;
  Result<std::optional<std::string>> text(std::string_view field) const;
  // The fields of a nested object.
  Result<std::optional<JsonFields>> object(std::string_view field) const;

  Result<uint32_t> required_u32(std::string_view field) const;
  // The default if absent.
  Result<uint32_t> u32_or(std::string_view field, uint32_t absent) const;
  Result<double> number_or(std::string_view field, double absent) const;
  Result<bool> flag_or(std::string_view field, bool absent) const;
  Result<std::string> text_or(std::string_view field, std::string absent) const;

  const std::string& where() const { return where_; }
  Error wrong(std::string_view field, std::string_view wanted) const;

 private:
  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace loci
