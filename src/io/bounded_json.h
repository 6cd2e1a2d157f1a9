// Parses a JSON text from outside: its size, its nesting and its number of values are limited, and a key that occurs
// twice in an object is an error, so a document means one thing and costs memory in proportion to its limits.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"

namespace loci {

struct JsonLimits {
  size_t bytes = size_t{1} << 20;
  size_t depth = 32;
  size_t values = 100'000;  // scalars, arrays and objects together
};

// `what` names the text in errors: "config.json".
Result<nlohmann::json> parse_bounded_json(std::string_view text, std::string_view what, JsonLimits limits);
// The same with the keys of objects in the order in which they came. Looking one up is a search.
Result<nlohmann::ordered_json> parse_bounded_ordered_json(std::string_view text, std::string_view what,
                                                          JsonLimits limits);

}  // namespace loci
