#include "eval/pareto.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "base/quantity.h"
#include "eval/page.h"

namespace loci {

namespace embedded {
std::string_view pareto_page_html();
std::string_view pareto_page_js();
}  // namespace embedded

namespace {

using Json = nlohmann::ordered_json;
using PromptName = std::pair<std::string, uint32_t>;  // task, index

struct Found {
  const PromptResult* result;
  const std::string* file;
};

struct Group {
  Json settings;
  uint32_t length = 0;
  std::vector<std::string> plans, tasks;  // as they first occur
  std::map<std::string, std::map<PromptName, Found>> answers;
};

void add_once(std::vector<std::string>& names, const std::string& name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
}

// What a result's time and prompt depend on; a version of Loci does not divide results.
Json comparable(Json settings) {
  settings.erase("loci");
  return settings;
}

std::string model_of(const Json& settings) {
  const auto model = settings.find("model");
  return model != settings.end() && model->is_string() ? model->get<std::string>() : "unnamed model";
}

std::string title(const Group& group) { return fmt::format("{} at {} tokens", model_of(group.settings), group.length); }

Status add(std::vector<Group>& groups, const NamedResults& file) {
  const Json settings = comparable(file.finished.settings);
  for (const PromptResult& result : file.finished.results) {
    auto group = std::find_if(groups.begin(), groups.end(), [&](const Group& g) {
      return g.length == result.key.length && comparable(g.settings) == settings;
    });
    if (group == groups.end()) {
      group = groups.insert(groups.end(), Group{file.finished.settings, result.key.length, {}, {}, {}});
    }
    add_once(group->plans, result.key.plan);
    add_once(group->tasks, result.key.task);
    const auto [at, fresh] = group->answers[result.key.plan].try_emplace(PromptName{result.key.task, result.key.index},
                                                                         Found{&result, &file.name});
    if (fresh) continue;
    return fail(ErrorCode::kInvalidArgument,
                "prompt {} of task '{}' at length {} under plan '{}' is in '{}' and in '{}': give one of the two",
                result.key.index, result.key.task, result.key.length, result.key.plan, *at->second.file, file.name);
  }
  return {};
}

std::set<PromptName> shared_prompts(const Group& group) {
  std::set<PromptName> out;
  for (const auto& [name, found] : group.answers.begin()->second) {
    const bool everywhere = std::all_of(group.answers.begin(), group.answers.end(),
                                        [&](const auto& plan) { return plan.second.contains(name); });
    if (everywhere) out.insert(name);
  }
  return out;
}

ParetoDot make_dot(const std::string& plan, const std::map<PromptName, Found>& answers,
                   const std::set<PromptName>& shared) {
  ParetoDot dot;
  dot.plan = plan;
  const auto count = static_cast<double>(shared.size());
  std::vector<double> scores;
  double decode = 0, steps = 0, kl = 0;
  bool all_kl = true;
  for (const PromptName& name : shared) {
    const PromptResult& r = *answers.at(name).result;
    scores.push_back(r.score);
    dot.kv_bytes += static_cast<double>(r.kv_bytes) / count;
    dot.seconds += (r.prefill_seconds + r.decode_seconds) / count;
    decode += r.decode_seconds;
    steps += r.decode_steps;
    all_kl = all_kl && r.kl.has_value();
    kl += r.kl.value_or(0) / count;
  }
  dot.score = mean_interval(scores);
  dot.token_ms = steps > 0 ? decode / steps * 1e3 : 0;
  if (all_kl) dot.kl = kl;
  return dot;
}

bool beats(const ParetoDot& a, const ParetoDot& b) {
  const bool as_good = a.score.mean >= b.score.mean && a.kv_bytes <= b.kv_bytes && a.seconds <= b.seconds;
  return as_good && (a.score.mean > b.score.mean || a.kv_bytes < b.kv_bytes || a.seconds < b.seconds);
}

void mark_frontier(std::vector<ParetoDot>& dots) {
  for (ParetoDot& dot : dots) {
    dot.best = std::none_of(dots.begin(), dots.end(), [&](const ParetoDot& other) { return beats(other, dot); });
  }
}

void finish(const Group& group, ParetoPicture& picture) {
  const std::set<PromptName> shared = shared_prompts(group);
  std::set<PromptName> all;
  for (const auto& [plan, answers] : group.answers) {
    for (const auto& [name, found] : answers) all.insert(name);
  }
  if (shared.empty()) {
    picture.notes.push_back(
        fmt::format("{} is left out: none of its {} prompts was answered by all of its {} plans: give results of the "
                    "same tasks and prompts",
                    title(group), all.size(), group.plans.size()));
    return;
  }
  if (shared.size() < all.size()) {
    picture.notes.push_back(fmt::format("{}: {} of {} prompts count, which all of its {} plans have answered",
                                        title(group), shared.size(), all.size(), group.plans.size()));
  }
  ParetoGroup out{group.settings, group.length, {}, static_cast<uint32_t>(shared.size()), {}};
  for (const std::string& task : group.tasks) {
    const bool counts = std::any_of(shared.begin(), shared.end(), [&](const auto& name) { return name.first == task; });
    if (counts) out.tasks.push_back(task);
  }
  for (const std::string& plan : group.plans) out.dots.push_back(make_dot(plan, group.answers.at(plan), shared));
  mark_frontier(out.dots);
  picture.groups.push_back(std::move(out));
}

constexpr double kMostBytes = 1e15;
constexpr double kMostSteps = 1e6;  // of an answer

Result<double> mean_of(const Json& cell, const char* key, double most) {
  const auto mean = cell.at(key).get<double>();
  if (mean >= 0 && mean <= most) return mean;
  return fail(ErrorCode::kCorrupt, "a cell has {} of {}, which must lie in 0..{}", key, mean, most);
}

// A cell of the leaderboard as the results of its prompts, which share its means.
Result<std::vector<PromptResult>> results_of_cell(const Json& cell) {
  try {
    const auto scores = cell.at("scores").get<std::vector<double>>();
    const auto indices = cell.at("indices").get<std::vector<uint32_t>>();
    if (indices.size() != scores.size())
      return fail(ErrorCode::kCorrupt, "a cell has {} scores of {} prompts", scores.size(), indices.size());
    LOCI_TRY(const double bytes, mean_of(cell, "kv_bytes", kMostBytes));
    LOCI_TRY(const double mean_steps, mean_of(cell, "decode_steps", kMostSteps));
    // Steps are whole: the mean is spread so that their sum is right.
    const auto steps_before = [&](size_t count) {
      return static_cast<uint32_t>(std::llround(mean_steps * static_cast<double>(count)));
    };
    std::vector<PromptResult> out;
    for (size_t i = 0; i < scores.size(); ++i) {
      PromptResult r;
      r.key = {cell.at("plan"), cell.at("task"), cell.at("length"), indices[i]};
      r.score = scores[i];
      if (!cell.at("kl").is_null()) r.kl = cell.at("kl").get<double>();
      r.kv_bytes = static_cast<uint64_t>(bytes);
      r.prefill_seconds = cell.at("prefill_s");
      r.decode_seconds = cell.at("decode_s");
      r.decode_steps = steps_before(i + 1) - steps_before(i);
      out.push_back(std::move(r));
    }
    return out;
  } catch (const nlohmann::json::exception& error) {
    return fail(ErrorCode::kCorrupt, "a cell is not one of the leaderboard: {}", error.what());
  }
}

Result<Json> read_json(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return fail(ErrorCode::kIo, "cannot read '{}'", path.string());
  return Json::parse(text.view(), nullptr, false);
}

std::string percent(double share) { return fmt::format("{:.1f}", share * 100); }

}  // namespace

Result<FinishedResults> read_pareto_results(const std::filesystem::path& path) {
  LOCI_TRY(const Json json, read_json(path));
  const bool whole = json.is_object() && json.contains("settings") && json["settings"].is_object();
  if (whole && json.contains("results")) return read_results(path);
  if (!whole || !json.contains("cells") || !json["cells"].is_array()) {
    return fail(ErrorCode::kCorrupt, "'{}' is no file of evaluation results: name one that 'loci eval --json' wrote",
                path.string());
  }
  FinishedResults out{json["settings"], {}};
  for (const Json& cell : json["cells"]) {
    Result<std::vector<PromptResult>> results = results_of_cell(cell);
    if (!results.ok()) return fail(results.error().code, "'{}': {}", path.string(), results.error().message);
    std::move(results->begin(), results->end(), std::back_inserter(out.results));
  }
  return out;
}

Result<ParetoPicture> pareto_picture(const std::vector<NamedResults>& files) {
  std::vector<Group> groups;
  for (const NamedResults& file : files) LOCI_CHECK(add(groups, file));
  std::stable_sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) {
    return std::make_pair(model_of(a.settings), a.length) < std::make_pair(model_of(b.settings), b.length);
  });
  ParetoPicture picture;
  for (const Group& group : groups) finish(group, picture);
  const bool any =
      std::any_of(picture.groups.begin(), picture.groups.end(), [](const auto& g) { return g.dots.size() > 1; });
  if (any) return picture;
  std::string why;
  for (const std::string& note : picture.notes) why += "; " + note;
  return fail(ErrorCode::kInvalidArgument, "no two plans have answered the same prompts of one model and machine{}",
              why);
}

Json to_json(const ParetoGroup& group) {
  Json dots = Json::array();
  for (const ParetoDot& dot : group.dots) {
    dots.push_back({{"plan", dot.plan},
                    {"score", to_json(dot.score)},
                    {"kl", dot.kl ? Json(*dot.kl) : Json(nullptr)},
                    {"kv_bytes", dot.kv_bytes},
                    {"seconds", dot.seconds},
                    {"token_ms", dot.token_ms},
                    {"best", dot.best}});
  }
  return {{"settings", group.settings},
          {"length", group.length},
          {"tasks", group.tasks},
          {"prompts", group.prompts},
          {"dots", std::move(dots)}};
}

Json to_json(const ParetoPicture& picture) {
  Json groups = Json::array();
  for (const ParetoGroup& group : picture.groups) groups.push_back(to_json(group));
  return {{"groups", std::move(groups)}, {"notes", picture.notes}};
}

std::string pareto_page(const ParetoPicture& picture) {
  return fill_page(embedded::pareto_page_html(), to_json(picture), embedded::pareto_page_js());
}

std::string pareto_markdown(const ParetoPicture& picture, int level) {
  std::string out;
  for (const ParetoGroup& group : picture.groups) {
    out += fmt::format(
        "{} {}, {} tokens\n\n{} prompt(s) of {}. Frontier: no other plan is as good in score, cache and "
        "time, and better in one.\n\n",
        std::string(static_cast<size_t>(level), '#'), model_of(group.settings), group.length, group.prompts,
        fmt::join(group.tasks, ", "));
    out +=
        "| plan | frontier | score % | 95% interval | KL | cache | seconds an answer | ms a token |\n"
        "|---|---|--:|--:|--:|--:|--:|--:|\n";
    for (const ParetoDot& dot : group.dots) {
      out += fmt::format("| `{}` | {} | {} | {}-{} | {} | {} | {:.2f} | {:.2f} |\n", in_table(dot.plan),
                         dot.best ? "yes" : "", percent(dot.score.mean), percent(dot.score.low),
                         percent(dot.score.high), dot.kl ? fmt::format("{:.4f}", *dot.kl) : "-",
                         format_bytes(static_cast<uint64_t>(dot.kv_bytes)), dot.seconds, dot.token_ms);
    }
    out += "\n";
  }
  for (const std::string& note : picture.notes) out += fmt::format("{}\n\n", note);
  return out;
}

}  // namespace loci
