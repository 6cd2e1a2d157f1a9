// Typed reading of a request's JSON object: every field is checked for its type and range, the first thing that is
// wrong is kept as an error that names the field, and fields that nobody asked for are an error too.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "serve/api_error.h"

namespace loci {

class Fields {
 public:
  static constexpr size_t kMostFields = 256;  // of one object; a look-up is a search

  // `object` outlives it. `where`: "messages[0]" for a nested object, empty for the request itself. `problem` gets the
  // first error of this and of all nested ones.
  Fields(const nlohmann::ordered_json& object, std::string where, std::optional<ApiError>& problem);

  // Absent and null give the default, as does what is wrong.
  const nlohmann::ordered_json* find(std::string_view name);
  std::optional<double> number(std::string_view name, double least, double most);
  std::optional<int64_t> integer(std::string_view name, int64_t least, int64_t most);
  std::optional<uint64_t> seed(std::string_view name);  // any integer of 64 bits
  std::optional<bool> flag(std::string_view name);
  std::optional<std::string> text(std::string_view name, size_t most_bytes);
  const nlohmann::ordered_json* array(std::string_view name, size_t most);
  const nlohmann::ordered_json* object(std::string_view name);
  // Accepted and without effect.
  void ignore(std::initializer_list<std::string_view> names);
  // Not supported unless it is absent, null or `harmless`.
  void only(std::string_view name, const nlohmann::ordered_json& harmless);

  // To be called last: fields that were not asked for.
  void refuse_unknown();

  void wrong(std::string_view name, std::string message, std::string code = "invalid_value");
  std::string path(std::string_view name) const;

 private:
  const nlohmann::ordered_json* object_;  // null: it is none, or has too many fields
  std::string where_;
  std::optional<ApiError>& problem_;
  std::set<std::string, std::less<>> asked_;
};

const char* kind_of(const nlohmann::ordered_json& value);  // "a string", "an object"

}  // namespace loci
