#include "eval/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <numeric>

#include "base/quantity.h"
#include "eval/page.h"
#include "eval/pareto.h"

namespace loci {

namespace embedded {
std::string_view page_html();
std::string_view page_js();
}  // namespace embedded

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostMisses = 50;  // told in Markdown

std::string text_of(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Scores by depth of the first needle, in tenths, and length.
struct Grid {
  std::string task, plan;
  std::map<uint32_t, std::array<std::vector<double>, 10>> columns;  // by length
};

std::vector<Grid> heat_maps(const std::vector<PromptResult>& results) {
  std::vector<Grid> out;
  for (const PromptResult& r : results) {
    if (r.needles.empty()) continue;  // nothing stands anywhere
    auto grid = std::find_if(out.begin(), out.end(),
                             [&](const Grid& g) { return g.task == r.key.task && g.plan == r.key.plan; });
    if (grid == out.end()) grid = out.insert(out.end(), Grid{r.key.task, r.key.plan, {}});
    const auto row = static_cast<size_t>(std::clamp(r.depth * 10, 0.0, 9.0));
    grid->columns[r.key.length][row].push_back(r.score);
  }
  return out;
}

std::string heat_table(const Grid& grid) {
  std::string out = fmt::format("\n### {} by depth, `{}`\n\n| depth |", grid.task, grid.plan);
  std::string rule = "|---|";
  for (const auto& [length, rows] : grid.columns) {
    out += fmt::format(" {} |", length);
    rule += "--:|";
  }
  out += "\n" + rule + "\n";
  for (size_t row = 0; row < 10; ++row) {
    out += fmt::format("| {}-{}% |", row * 10, (row + 1) * 10);
    for (const auto& [length, rows] : grid.columns) {
      const std::vector<double>& scores = rows[row];
      const double sum = std::accumulate(scores.begin(), scores.end(), 0.0);
      out += scores.empty() ? " |" : fmt::format(" {:.0f} |", sum / static_cast<double>(scores.size()) * 100);
    }
    out += "\n";
  }
  return out;
}

// A text of a model as one line of code, so that nothing in it means anything in Markdown.
std::string in_code(std::string_view text) {
  std::string out = "`";
  for (const char c : text) out += c == '`' ? '\'' : c == '\n' || c == '\r' ? ' ' : c;
  return out + " `";
}

std::string misses(const std::vector<PromptResult>& results) {
  std::string out;
  size_t found = 0;
  for (const PromptResult& r : results) {
    if (r.score >= 1 || ++found > kMostMisses) continue;
    out +=
        fmt::format("- `{}` {} {} #{}, {:.0f}%: right {}, said {}\n", r.key.plan, r.key.task, r.key.length, r.key.index,
                    r.score * 100, in_code(fmt::format("{}", fmt::join(r.answers, ", "))), in_code(r.text));
  }
  if (found == 0) return out;
  const std::string rest = found > kMostMisses ? fmt::format(", the first {} of {}", kMostMisses, found) : "";
  return fmt::format("\n## Answers that lack something{}\n\n{}", rest, out);
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
  Json data{{"settings", settings}, {"cells", std::move(cells)}, {"results", std::move(records)}};
  const Result<ParetoPicture> picture = pareto_picture({{"results", {settings, results}}});
  data["pareto"] = to_json(picture.ok() ? *picture : ParetoPicture());  // of one plan there is nothing to show
  return fill_page(embedded::page_html(), data, embedded::page_js());
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
  for (const Grid& grid : heat_maps(results)) out += heat_table(grid);
  const Result<ParetoPicture> picture = pareto_picture({{"results", {settings, results}}});
  if (picture.ok()) out += "\n## What quality costs\n\n" + pareto_markdown(*picture, 3);
  return out + misses(results);
}

}  // namespace loci
