#include "eval/jsonl_suite.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace loci {
namespace {

Result<JsonlRecord> parse_record(std::string_view line, size_t number) {
  try {
    const nlohmann::json json = nlohmann::json::parse(line);
    JsonlRecord record;
    record.context = json.at("context");
    record.input = json.at("input");
    record.answers = json.at("answers").get<std::vector<std::string>>();
    if (!record.answers.empty()) return record;
    return fail(ErrorCode::kCorrupt, "line {} has no answer", number);
  } catch (const nlohmann::json::exception& error) {
    return fail(ErrorCode::kCorrupt, "line {} is no object with context, input and answers: {}", number, error.what());
  }
}

bool inside_character(std::string_view text, size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;
}

// The first and the last half of `count` bytes, whole characters alone.
std::string without_middle(std::string_view text, size_t count) {
  if (count >= text.size()) return std::string(text);
  size_t head = count / 2;
  size_t tail = text.size() - (count - head);
  while (head > 0 && inside_character(text, head)) --head;
  while (inside_character(text, tail)) ++tail;
  return std::string(text.substr(0, head)) + std::string(text.substr(tail));
}

// Each {name} is replaced where it first stands; what is put in is not searched.
std::string filled(std::string_view prompt, std::string_view context, std::string_view input) {
  std::vector<std::pair<size_t, std::pair<std::string_view, std::string_view>>> parts;
  for (const auto& part : {std::pair<std::string_view, std::string_view>{"{context}", context}, {"{input}", input}}) {
    const size_t at = prompt.find(part.first);
    if (at != std::string_view::npos) parts.emplace_back(at, part);
  }
  std::sort(parts.begin(), parts.end());
  std::string out;
  size_t done = 0;
  for (const auto& [at, part] : parts) {
    out.append(prompt.substr(done, at - done)).append(part.second);
    done = at + part.first.size();
  }
  return out.append(prompt.substr(done));
}

}  // namespace

Result<std::vector<JsonlRecord>> parse_jsonl(std::string_view text) {
  std::vector<JsonlRecord> records;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) {
      LOCI_TRY(JsonlRecord record, parse_record(line, number));
      records.push_back(std::move(record));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  if (records.empty()) return fail(ErrorCode::kCorrupt, "there is no line with a question");
  return records;
}

Sample jsonl_question(const SampleInput& input) {
  const JsonlRecord& record = input.data.records[input.index % input.data.records.size()];
  Sample sample;
  sample.prompt = filled(input.data.record_prompt, without_middle(record.context, input.units), record.input);
  sample.answers = record.answers;
  return sample;
}

}  // namespace loci
