// Pages that need nothing beside them: a template of src/eval/report with the data, the programs that draw it and
// Chart.js (MIT) filled in. They ask the network for nothing, and forbid it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace loci {

// `script` runs behind the parts that all pages share; `data` is the constant of that name. Costs the JSON's bytes
// three times at most.
std::string fill_page(std::string_view page, const nlohmann::ordered_json& data, std::string_view script);

// A plan may hold '|', which ends a cell of a table in Markdown.
std::string in_table(std::string_view text);

}  // namespace loci
