#include "eval/result_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace loci {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Error io_error(const std::filesystem::path& path, const char* what) {
  return fail(ErrorCode::kIo, "cannot {} '{}': {}", what, path.string(), std::strerror(errno));
}

Result<std::string> read_whole(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return io_error(path, "read");
  return std::move(text).str();
}

std::filesystem::path part_of(std::filesystem::path path) { return path += ".part"; }

size_t place_in(const std::vector<std::string>& order, const std::string& name) {
  return static_cast<size_t>(std::find(order.begin(), order.end(), name) - order.begin());
}

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

std::optional<double> optional_number(const nlohmann::json& json, const char* key) {
  return json.at(key).is_null() ? std::nullopt : std::optional<double>(json.at(key).get<double>());
}

}  // namespace

Status write_whole(const std::filesystem::path& path, std::string_view bytes) {
  std::filesystem::path fresh = path;
  fresh += ".new";
  std::ofstream file(fresh, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) return io_error(fresh, "write");
  std::error_code error;
  std::filesystem::rename(fresh, path, error);
  if (error) return fail(ErrorCode::kIo, "cannot write '{}': {}", path.string(), error.message());
  return {};
}

Json to_json(const Interval& interval) {
  return {{"mean", interval.mean}, {"low", interval.low}, {"high", interval.high}};
}

Json to_json(const PromptResult& r) {
  Json out{{"plan", r.key.plan},
           {"task", r.key.task},
           {"length", r.key.length},
           {"index", r.key.index},
           {"attention", r.attention},
           {"prompt_tokens", r.prompt_tokens},
           {"depth", r.depth},
           {"needles", r.needles},
           {"answers", r.answers},
           {"excerpt", r.excerpt},
           {"text", r.text},
           {"finish", r.finish},
           {"score", r.score},
           {"kl", or_null(r.kl)},
           {"agreement", or_null(r.agreement)},
           {"kv_bytes", r.kv_bytes},
           {"kept_tokens", r.kept_tokens},
           {"time",
            {{"prefill_s", r.prefill_seconds},
             {"prefill_tok_s", r.prefill_seconds > 0 ? r.prompt_tokens / r.prefill_seconds : 0},
             {"decode_s", r.decode_seconds},
             {"decode_tok_s", r.decode_seconds > 0 ? r.decode_steps / r.decode_seconds : 0},
             {"decode_steps", r.decode_steps}}}};
  if (r.turns.empty()) return out;
  Json& turns = out["turns"] = Json::array();
  for (const TurnResult& turn : r.turns) {
    turns.push_back({{"text", turn.text}, {"score", turn.score}, {"read", turn.read}, {"reused", turn.reused}});
  }
  return out;
}

Result<PromptResult> prompt_result_from_json(const nlohmann::json& json) {
  try {
    PromptResult r;
    r.key = {json.at("plan"), json.at("task"), json.at("length"), json.at("index")};
    r.attention = json.at("attention");
    r.prompt_tokens = json.at("prompt_tokens");
    r.depth = json.at("depth");
    r.needles = json.at("needles").get<std::vector<std::string>>();
    r.answers = json.at("answers").get<std::vector<std::string>>();
    r.excerpt = json.at("excerpt");
    r.text = json.at("text");
    r.finish = json.at("finish");
    r.score = json.at("score");
    r.kl = optional_number(json, "kl");
    r.agreement = optional_number(json, "agreement");
    r.kv_bytes = json.at("kv_bytes");
    r.kept_tokens = json.at("kept_tokens");
    const nlohmann::json& time = json.at("time");
    r.prefill_seconds = time.at("prefill_s");
    r.decode_seconds = time.at("decode_s");
    r.decode_steps = time.at("decode_steps");
    if (!json.contains("turns")) return r;
    for (const nlohmann::json& turn : json.at("turns")) {
      r.turns.push_back({turn.at("text"), turn.at("score"), turn.at("read"), turn.at("reused")});
    }
    return r;
  } catch (const nlohmann::json::exception& error) {
    return fail(ErrorCode::kCorrupt, "a result is not one of an evaluation: {}", error.what());
  }
}

std::vector<Cell> summarize(const std::vector<PromptResult>& results) {
  std::vector<std::pair<const PromptResult*, std::vector<const PromptResult*>>> groups;
  for (const PromptResult& r : results) {
    const auto same = [&](const auto& group) {
      const PromptKey& key = group.first->key;
      return key.plan == r.key.plan && key.task == r.key.task && key.length == r.key.length;
    };
    auto group = std::find_if(groups.begin(), groups.end(), same);
    if (group == groups.end()) group = groups.insert(groups.end(), {&r, {}});
    group->second.push_back(&r);
  }
  std::vector<Cell> cells;
  for (const auto& [first, members] : groups) {
    Cell cell;
    cell.plan = first->key.plan;
    cell.task = first->key.task;
    cell.length = first->key.length;
    cell.prompts = static_cast<uint32_t>(members.size());
    std::vector<double> scores, kl, agreement;
    double prompt_tokens = 0, prefill = 0, steps = 0, decode = 0;
    for (const PromptResult* r : members) {
      scores.push_back(r->score);
      if (r->kl) kl.push_back(*r->kl);
      if (r->agreement) agreement.push_back(*r->agreement);
      cell.kv_bytes += static_cast<double>(r->kv_bytes) / cell.prompts;
      cell.kept_tokens += static_cast<double>(r->kept_tokens) / cell.prompts;
      prompt_tokens += r->prompt_tokens;
      prefill += r->prefill_seconds;
      steps += r->decode_steps;
      decode += r->decode_seconds;
    }
    cell.score = mean_interval(scores);
    if (!kl.empty()) cell.kl = bootstrap_interval(kl);
    if (!agreement.empty()) cell.agreement = mean_interval(agreement);
    cell.prefill_tok_s = prefill > 0 ? prompt_tokens / prefill : 0;
    cell.decode_tok_s = decode > 0 ? steps / decode : 0;
    cells.push_back(std::move(cell));
  }
  return cells;
}

Json to_json(const Cell& cell) {
  return {{"plan", cell.plan},
          {"task", cell.task},
          {"length", cell.length},
          {"prompts", cell.prompts},
          {"score", to_json(cell.score)},
          {"kl", cell.kl ? to_json(*cell.kl) : Json(nullptr)},
          {"agreement", cell.agreement ? to_json(*cell.agreement) : Json(nullptr)},
          {"kv_bytes", cell.kv_bytes},
          {"kept_tokens", cell.kept_tokens},
          {"time", {{"prefill_tok_s", cell.prefill_tok_s}, {"decode_tok_s", cell.decode_tok_s}}}};
}

Result<FinishedResults> read_results(const std::filesystem::path& path) {
  LOCI_TRY(const std::string text, read_whole(path));
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("settings") || !json.contains("results") || !json["results"].is_array()) {
    return fail(ErrorCode::kCorrupt, "'{}' is no file of evaluation results: name another", path.string());
  }
  FinishedResults out{json["settings"], {}};
  for (const Json& item : json["results"]) {
    LOCI_TRY(PromptResult result, prompt_result_from_json(item));
    out.results.push_back(std::move(result));
  }
  return out;
}

Result<ResultFile> ResultFile::open(const std::filesystem::path& path, Json settings) {
  ResultFile file;
  file.path_ = path;
  file.settings_ = std::move(settings);
  std::error_code error;
  if (std::filesystem::exists(path, error)) LOCI_CHECK(file.take_whole());
  if (std::filesystem::exists(part_of(path), error)) LOCI_CHECK(file.take_part());
  LOCI_CHECK(file.begin_part());
  return file;
}

Status ResultFile::check_settings(const nlohmann::json& found) const {
  for (const auto& [name, value] : settings_.items()) {
    const nlohmann::json wanted = value;
    if (found.is_object() && found.contains(name) && found.at(name) == wanted) continue;
    return fail(ErrorCode::kInvalidArgument,
                "'{}' holds results with another {} ({}, not {}): name another file, or remove it", path_.string(),
                name, found.is_object() && found.contains(name) ? found.at(name).dump() : "none", wanted.dump());
  }
  return {};
}

Status ResultFile::take_whole() {
  LOCI_TRY(FinishedResults found, read_results(path_));
  LOCI_CHECK(check_settings(found.settings));
  for (PromptResult& result : found.results) {
    PromptKey key = result.key;
    results_.insert_or_assign(std::move(key), std::move(result));
  }
  return {};
}

// Lines: the settings, then records. A run that was killed may have left half a line, which is cut off.
Status ResultFile::take_part() {
  const std::filesystem::path path = part_of(path_);
  LOCI_TRY(const std::string text, read_whole(path));
  const size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  std::error_code error;
  if (whole < text.size()) std::filesystem::resize_file(path, whole, error);
  if (error) return fail(ErrorCode::kIo, "cannot shorten '{}': {}", path.string(), error.message());
  size_t number = 0;
  for (size_t begin = 0; begin < whole; ++number) {
    const size_t end = text.find('\n', begin);
    const nlohmann::json json = nlohmann::json::parse(text.substr(begin, end - begin), nullptr, false);
    begin = end + 1;
    if (number == 0) {
      LOCI_CHECK(check_settings(json));
      continue;
    }
    LOCI_TRY(PromptResult result, prompt_result_from_json(json));
    PromptKey key = result.key;
    results_.insert_or_assign(std::move(key), std::move(result));
  }
  return {};
}

Status ResultFile::begin_part() {
  const std::filesystem::path path = part_of(path_);
  std::error_code error;
  const bool fresh = !std::filesystem::exists(path, error) || std::filesystem::file_size(path, error) == 0;
  part_.reset(std::fopen(path.c_str(), "ab"));
  if (part_ == nullptr) return io_error(path, "write");
  if (!fresh) return {};
  const std::string line = dump(settings_) + "\n";
  if (std::fwrite(line.data(), 1, line.size(), part_.get()) != line.size() || std::fflush(part_.get()) != 0) {
    return io_error(path, "write");
  }
  return {};
}

const PromptResult* ResultFile::find(const PromptKey& key) const {
  const auto found = results_.find(key);
  return found == results_.end() ? nullptr : &found->second;
}

Status ResultFile::add(PromptResult result) {
  if (part_ != nullptr) {
    const std::string line = dump(to_json(result)) + "\n";
    if (std::fwrite(line.data(), 1, line.size(), part_.get()) != line.size() || std::fflush(part_.get()) != 0) {
      return io_error(part_of(path_), "write");
    }
  }
  PromptKey key = result.key;
  results_.insert_or_assign(std::move(key), std::move(result));
  return {};
}

std::vector<PromptResult> ResultFile::sorted(const std::vector<std::string>& plans,
                                             const std::vector<std::string>& tasks) const {
  std::vector<PromptResult> out;
  for (const auto& [key, result] : results_) out.push_back(result);
  const auto place = [&](const PromptResult& r) {
    return std::make_tuple(place_in(plans, r.key.plan), r.key.plan, place_in(tasks, r.key.task), r.key.task,
                           r.key.length, r.key.index);
  };
  std::sort(out.begin(), out.end(), [&](const auto& a, const auto& b) { return place(a) < place(b); });
  return out;
}

Status ResultFile::finish(const std::vector<PromptResult>& results) {
  if (path_.empty()) return {};
  Json cells = Json::array();
  for (const Cell& cell : summarize(results)) cells.push_back(to_json(cell));
  Json records = Json::array();
  for (const PromptResult& result : results) records.push_back(to_json(result));
  LOCI_CHECK(write_whole(path_, dump({{"settings", settings_}, {"cells", cells}, {"results", records}}, 1) + "\n"));
  part_.reset();
  std::error_code error;
  std::filesystem::remove(part_of(path_), error);
  return {};
}

}  // namespace loci
