// Small vocabularies for the tests of tokenizers.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "io/model_file.h"
#include "text/byte_level.h"

namespace loci::testing {

using Strings = std::vector<std::string>;

// tests/data/tokenizers/NAME.json, written by tools/tokenizers/goldens.py.
inline nlohmann::json read_goldens(const std::string& name) {
  std::ifstream in(std::string(LOCI_SOURCE_DIR) + "/tests/data/tokenizers/" + name + ".json", std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  EXPECT_FALSE(text.empty()) << name;
  return nlohmann::json::parse(text);
}

// The golden files' form of GGUF metadata: keys without their "tokenizer.ggml.".
inline Metadata metadata_of(const nlohmann::json& gguf) {
  Metadata metadata;
  for (const auto& [name, value] : gguf.items()) {
    const std::string key = "tokenizer.ggml." + name;
    if (value.is_boolean()) {
      metadata.set(key, value.get<bool>());
    } else if (value.is_number()) {
      metadata.set(key, value.get<uint64_t>());
    } else if (value.is_string()) {
      metadata.set(key, value.get<std::string>());
    } else if (value.front().is_string()) {
      metadata.set(key, value.get<Strings>());
    } else if (name == "scores") {
      metadata.set(key, value.get<std::vector<double>>());
    } else {
      metadata.set(key, value.get<std::vector<int64_t>>());
    }
  }
  return metadata;
}

// Every byte as a token, then the results of `merges`, then `control` tokens.
inline Metadata byte_level_metadata(const std::string& family, const Strings& merges = {},
                                    const Strings& control = {}) {
  Strings tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(to_byte_level(std::string(1, static_cast<char>(byte))));
  for (const std::string& merge : merges) {
    const size_t space = merge.find(' ');
    tokens.push_back(merge.substr(0, space) + merge.substr(space + 1));
  }
  std::vector<int64_t> types(tokens.size(), 1);
  tokens.insert(tokens.end(), control.begin(), control.end());
  types.resize(tokens.size(), 3);
  Metadata metadata;
  metadata.set("tokenizer.ggml.model", std::string("gpt2"));
  metadata.set("tokenizer.ggml.pre", family);
  metadata.set("tokenizer.ggml.tokens", tokens);
  metadata.set("tokenizer.ggml.token_type", types);
  metadata.set("tokenizer.ggml.merges", merges);
  return metadata;
}

struct Piece {
  std::string text;
  double score = 0;
  int64_t kind = 1;
};

// "<unk>", "<s>", "</s>", the byte tokens 3 to 258 if `bytes`, then `pieces`.
inline Metadata sentencepiece_metadata(const std::vector<Piece>& pieces, bool bytes = true, bool space_prefix = true) {
  Strings tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int64_t> types = {2, 3, 3};
  std::vector<double> scores(3, 0.0);
  for (int byte = 0; bytes && byte < 256; ++byte) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    const auto b = static_cast<size_t>(byte);
    tokens.push_back(std::string("<0x") + kDigits[b / 16] + kDigits[b % 16] + ">");
    types.push_back(6);
    scores.push_back(0);
  }
  for (const Piece& piece : pieces) {
    tokens.push_back(piece.text);
    types.push_back(piece.kind);
    scores.push_back(piece.score);
  }
  Metadata metadata;
  metadata.set("tokenizer.ggml.model", std::string("llama"));
  metadata.set("tokenizer.ggml.tokens", tokens);
  metadata.set("tokenizer.ggml.token_type", types);
  metadata.set("tokenizer.ggml.scores", scores);
  metadata.set("tokenizer.ggml.add_space_prefix", space_prefix);
  return metadata;
}

}  // namespace loci::testing
