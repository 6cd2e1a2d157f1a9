// What people look at: a page that needs nothing beside it, and the same in Markdown: tables of cells, of scores by
// depth and of the frontier, and what was said where an answer lacks something.
//
// The page holds all results as JSON (page.h).
#pragma once

#include <string>
#include <vector>

#include "eval/result_file.h"

namespace loci {

std::string report_page(const nlohmann::ordered_json& settings, const std::vector<PromptResult>& results);
std::string report_markdown(const nlohmann::ordered_json& settings, const std::vector<PromptResult>& results);

}  // namespace loci
