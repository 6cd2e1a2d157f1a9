// A method's registry line in words and as JSON: what `loci methods` prints and the methods' pages are made of.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "attention/registry/registry.h"

namespace loci {

// "retain", "retain, mix", "select in prefill".
std::string where_it_answers(const Method& method);
// "budget=1024, window=32": every parameter at its default.
std::string defaults_of(const Method& method);
// Everything, on some twenty lines.
std::string method_page(const Registry& registry, const Method& method);
nlohmann::ordered_json method_json(const Registry& registry, const Method& method);
nlohmann::ordered_json registry_json(const Registry& registry);

}  // namespace loci
