// The page of `loci explain`: one HTML file with its data, script and style inside. Works without a network.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace loci {

// `explanation` as `loci explain --json` prints it.
std::string explain_page(const nlohmann::ordered_json& explanation);

}  // namespace loci
