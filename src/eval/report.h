// What people look at: a page that needs nothing beside it, and tables in Markdown.
//
// The page holds the results as JSON, the program that draws them and Chart.js (MIT). It asks the network for nothing,
// and forbids it. Costs the results' JSON in memory, three times at most.
#pragma once

#include <string>
#include <vector>

#include "eval/result_file.h"

namespace loci {

std::string report_page(const nlohmann::ordered_json& settings, const std::vector<PromptResult>& results);
std::string report_markdown(const nlohmann::ordered_json& settings, const std::vector<PromptResult>& results);

}  // namespace loci
