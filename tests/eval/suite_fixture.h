// What tests of the suites share: the stored prompts of published generators, the word lists that ship, and a tokenizer
// of one token a byte.
#pragma once

#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "eval/suite.h"

namespace loci {

inline std::string read_shipped(const std::string& name) {
  std::ifstream file(std::string(LOCI_SOURCE_DIR) + "/" + name, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::string shipped_model() { return std::string(LOCI_SOURCE_DIR) + "/models/needle-14m-q8_0.gguf"; }

inline nlohmann::json stored_prompts(const std::string& name) {
  return nlohmann::json::parse(read_shipped("tests/eval/data/" + name));
}

inline const nlohmann::json& ruler_fixtures() {
  static const nlohmann::json json = stored_prompts("ruler.json");
  return json;
}

inline const SuiteData& data() {
  static const SuiteData made({.haystack = ruler_fixtures().at("essay").get<std::string>(),
                               .adjectives = read_shipped("data/words/adjectives.txt"),
                               .nouns = read_shipped("data/words/nouns.txt"),
                               .verbs = read_shipped("data/words/verbs.txt")},
                              *parse_squad(ruler_fixtures().at("squad").dump()),
                              *parse_hotpotqa(ruler_fixtures().at("hotpotqa").dump()));
  return made;
}

inline const Task& task(std::string_view name) {
  for (const Task& t : all_tasks()) {
    if (t.name == name) return t;
  }
  throw std::runtime_error(std::string(name));
}

// A tokenizer of one token a byte.
inline SampleMaker byte_maker(uint64_t seed, SampleOptions options = {}) {
  options.seed = seed;
  std::vector<TokenId> vocabulary(8192);
  for (size_t i = 0; i < vocabulary.size(); ++i) vocabulary[i] = static_cast<TokenId>(1000 + i);
  return SampleMaker(
      data(), options,
      [](const Sample& sample) -> Result<std::vector<TokenId>> {
        if (!sample.recall.tokens.empty()) return sample.recall.tokens;
        const std::string text = whole_text(sample);
        return std::vector<TokenId>(text.begin(), text.end());
      },
      [](std::string_view text) -> Result<uint32_t> { return static_cast<uint32_t>(text.size()); },
      std::move(vocabulary));
}

inline size_t occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace loci
