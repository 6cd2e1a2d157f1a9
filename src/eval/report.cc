#include "eval/report.h"

#include <fmt/format.h>

#include "base/quantity.h"

namespace loci {

// Files of src/eval/report and Chart.js, put into the binary by cmake/embed.cmake.
namespace embedded {
std::string_view page_html();
std::string_view page_js();
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

// A plan may hold '|', which ends a cell of a table.
std::string in_table(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '|' ? std::string("\\|") : std::string(1, c);
  return out;
}

std::string text_of(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string percent(const Interval& interval) {
  return fmt::format("{:.1f} ({:.1f}-{:.1f})", interval.mean * 100, interval.low * 100, interval.high * 100);
}

}  // namespace

std::string report_page(const Json& settings, const std::vector<PromptResult>& results) {
  Json cells = Json::array();
  for (const Cell& cell : summarize(results)) cells.push_back(to_json(cell));
  Json records = Json::array();
  for (const PromptResult& result : results) records.push_back(to_json(result));
  const std::string data =
      script_json({{"settings", settings}, {"cells", std::move(cells)}, {"results", std::move(records)}});
  return filled(embedded::page_html(),
                {{"@DATA@", data}, {"@CHART@", embedded::chart_js()}, {"@SCRIPT@", embedded::page_js()}});
}

std::string report_markdown(const Json& settings, const std::vector<PromptResult>& results) {
  std::string out = "# Loci evaluation\n\n";
  for (const auto& [name, value] : settings.items()) out += fmt::format("- {}: {}\n", name, text_of(value));
  out +=
      "\nScores in percent with their 95% intervals; KL in nats a token and top-1 agreement against dense, at the "
      "tokens of dense's answer.\n\n"
      "| plan | task | length | prompts | score % | KL | top-1 % | cache | kept | prefill tok/s | decode tok/s |\n"
      "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
  for (const Cell& cell : summarize(results)) {
    out += fmt::format("| `{}` | {} | {} | {} | {} | {} | {} | {} | {:.0f} | {} | {} |\n", in_table(cell.plan),
                       cell.task, cell.length, cell.prompts, percent(cell.score),
                       cell.kl ? fmt::format("{:.4f}", cell.kl->mean) : "-",
                       cell.agreement ? fmt::format("{:.1f}", cell.agreement->mean * 100) : "-",
                       format_bytes(static_cast<uint64_t>(cell.kv_bytes)), cell.kept_tokens,
                       format_number(cell.prefill_tok_s), format_number(cell.decode_tok_s));
  }
  return out;
}

}  // namespace loci
