#include "eval/page.h"

#include <utility>
#include <vector>

namespace loci {

// Files of src/eval/report and Chart.js, put into the binary by cmake/embed.cmake.
namespace embedded {
std::string_view style_css();
std::string_view common_js();
std::string_view pareto_js();
std::string_view chart_js();
}  // namespace embedded

namespace {

using Json = nlohmann::ordered_json;

// JSON that may stand inside a <script>: no "<" of a text can end it.
std::string script_json(const Json& json) {
  std::string out;
  for (const char c : json.dump(-1, ' ', false, Json::error_handler_t::replace)) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

// The template, with each @NAME@ that it names in order replaced. What is put in is not searched.
std::string filled(std::string_view page, const std::vector<std::pair<std::string_view, std::string_view>>& parts) {
  std::string out;
  for (const auto& [name, text] : parts) {
    const size_t at = page.find(name);
    out.append(page.substr(0, at)).append(text);
    page.remove_prefix(at + name.size());
  }
  return out.append(page);
}

}  // namespace

std::string fill_page(std::string_view page, const Json& data, std::string_view script) {
  const std::string json = script_json(data);
  return filled(page, {{"@STYLE@", embedded::style_css()},
                       {"@DATA@", json},
                       {"@CHART@", embedded::chart_js()},
                       {"@COMMON@", embedded::common_js()},
                       {"@PARETO@", embedded::pareto_js()},
                       {"@SCRIPT@", script}});
}

std::string in_table(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '|' ? std::string("\\|") : std::string(1, c);
  return out;
}

}  // namespace loci
