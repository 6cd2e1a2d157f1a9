// What an evaluation found, one record per plan and prompt, and the file they are kept in.
//
// A file grows while the run does: each record is a line added to FILE.part, so that a run that was killed goes on
// where it stopped. finish() writes FILE whole, sorted, and removes the parts. The result of a broken and resumed run
// equals that of an unbroken one but for the times measured. Used by one thread.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "base/error.h"
#include "eval/divergence.h"
#include "eval/statistics.h"

namespace loci {

struct PromptKey {
  std::string plan;  // as the user wrote it
  std::string task;
  uint32_t length = 0;
  uint32_t index = 0;
  auto operator<=>(const PromptKey&) const = default;
};

// One of several questions about a context.
struct TurnResult {
  std::string text;
  double score = 0;
  uint32_t read = 0;    // tokens of the prompt that were read for it
  uint32_t reused = 0;  // that the session held already
};

struct PromptResult {
  PromptKey key;
  std::string attention;  // the plan in canonical form
  uint32_t prompt_tokens = 0;
  double depth = 0;  // of the first needle
  std::vector<std::string> needles;
  std::vector<std::string> answers;
  std::string excerpt;  // of the prompt: its ends and what surrounds the needles
  std::string text;     // what the model said
  std::string finish;
  double score = 0;
  // Against dense, over the tokens of dense's answer; absent if dense was not run or said nothing.
  std::optional<double> kl;         // mean, nats a token
  std::optional<double> agreement;  // share of rows with dense's most likely token
  uint64_t kv_bytes = 0;
  uint64_t kept_tokens = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
  uint32_t decode_steps = 0;
  std::vector<TurnResult> turns;  // of tasks with several questions; the score is their mean
};

nlohmann::ordered_json to_json(const Interval& interval);
nlohmann::ordered_json to_json(const PromptResult& result);
Result<PromptResult> prompt_result_from_json(const nlohmann::json& json);

// All prompts of one plan, task and length.
struct Cell {
  std::string plan, task;
  uint32_t length = 0;
  uint32_t prompts = 0;
  Interval score;
  std::optional<Interval> kl, agreement;
  double kv_bytes = 0, kept_tokens = 0;        // means
  double prefill_tok_s = 0, decode_tok_s = 0;  // tokens over seconds, all prompts together
};

// In the order in which plan, task and length first occur.
std::vector<Cell> summarize(const std::vector<PromptResult>& results);
nlohmann::ordered_json to_json(const Cell& cell);

struct FinishedResults {
  nlohmann::ordered_json settings;
  std::vector<PromptResult> results;
};

// Beside `path` first, then in its place, so that there is never half a file.
Status write_whole(const std::filesystem::path& path, std::string_view bytes);
// A file that finish() has written.
Result<FinishedResults> read_results(const std::filesystem::path& path);

class ResultFile {
 public:
  // Keeps nothing on disk.
  ResultFile() = default;
  // Takes up what `path` and its part hold. kInvalidArgument names a setting in which they differ from `settings`.
  static Result<ResultFile> open(const std::filesystem::path& path, nlohmann::ordered_json settings);

  const PromptResult* find(const PromptKey& key) const;
  Status add(PromptResult result);
  // Sorted by the given plans and tasks, what they do not name behind, then by length and index.
  std::vector<PromptResult> sorted(const std::vector<std::string>& plans, const std::vector<std::string>& tasks) const;
  Status finish(const std::vector<PromptResult>& results);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  Status take_whole();
  Status take_part();
  Status check_settings(const nlohmann::json& found) const;
  Status begin_part();

  std::filesystem::path path_;
  nlohmann::ordered_json settings_;
  std::map<PromptKey, PromptResult> results_;
  std::unique_ptr<std::FILE, Close> part_;
};

// Dense's answer to one prompt, and its distribution at each of its tokens.
struct Reference {
  std::vector<TokenId> answer;
  std::vector<ReferenceRow> rows;
};

// References by prompt, in a folder, so that a resumed run need not ask dense again; or in memory.
class ReferenceStore {
 public:
  ReferenceStore() = default;
  explicit ReferenceStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  bool holds(const PromptKey& key) const;  // the key's plan does not matter
  Result<Reference> read(const PromptKey& key) const;
  Status write(const PromptKey& key, Reference reference);
  void remove();  // the folder and all in it

 private:
  std::filesystem::path folder_;
  std::map<std::string, Reference> memory_;
};

}  // namespace loci
