// Plans by what they give and what they cost: accuracy, bytes of cache, time of an answer. One dot a plan among results
// of one model, machine, length and set of prompts; the frontier are the dots that no other one beats.
//
// Only prompts that every plan of a group has answered count, so that dots can be compared.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "eval/result_file.h"

namespace loci {

struct ParetoDot {
  std::string plan;
  Interval score;            // over prompts
  double kv_bytes = 0;       // mean, when an answer ends
  double seconds = 0;        // mean, of a prompt and its answer
  double token_ms = 0;       // of a decode step
  std::optional<double> kl;  // mean against dense, nats a token; absent unless every prompt has one
  bool best = false;         // no other dot is as good in score, bytes and seconds, and better in one of them
};

struct ParetoGroup {
  nlohmann::ordered_json settings;  // that its results share
  uint32_t length = 0;              // tokens of prompt and answer
  std::vector<std::string> tasks;
  uint32_t prompts = 0;         // that all dots have answered
  std::vector<ParetoDot> dots;  // in the order in which plans first occur
};

struct ParetoPicture {
  std::vector<ParetoGroup> groups;  // by model and length as they first occur
  std::vector<std::string> notes;   // what was left out, and why
};

struct NamedResults {
  std::string name;  // of the file
  FinishedResults finished;
};

// A file of `loci eval --json`, or of the leaderboard, which holds cells with the scores of their prompts in place of
// prompts (docs/evaluation.md). kCorrupt, kIo.
Result<FinishedResults> read_pareto_results(const std::filesystem::path& path);
// kInvalidArgument if two files hold the same prompt of a plan, or no prompt was answered by two plans or more.
Result<ParetoPicture> pareto_picture(const std::vector<NamedResults>& files);

nlohmann::ordered_json to_json(const ParetoGroup& group);
nlohmann::ordered_json to_json(const ParetoPicture& picture);
std::string pareto_page(const ParetoPicture& picture);
// One table a group, under headings of `level` times '#'.
std::string pareto_markdown(const ParetoPicture& picture, int level = 2);

}  // namespace loci
