// Samples as tokens, in the way that a model is talked to: through its chat template, or as one text.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "eval/suite.h"
#include "loci/loci.h"

namespace loci {

class PromptWriter {
 public:
  // `engine` outlives it.
  PromptWriter(const Engine& engine, bool chat) : engine_(engine), chat_(chat) {}

  Result<uint32_t> count(std::string_view text) const;
  // All that is read for a sample; several questions one after the other.
  Result<std::vector<TokenId>> prompt(const Sample& sample) const;
  // For each of several questions all that stands before its answer.
  Result<std::vector<std::vector<TokenId>>> turns(const Sample& sample, Asking asking) const;
  // What several questions are about, without any of them. In a conversation the message goes on behind it, so that its
  // last tokens may be others there.
  Result<std::vector<TokenId>> context(const Sample& sample) const;
  // Tokens that are plain words, with or without the blank before them, at most 8,192 of the whole vocabulary.
  // kUnsupported if there are fewer than 256.
  Result<std::vector<TokenId>> vocabulary() const;

 private:
  using Tokens = std::vector<TokenId>;
  Result<Tokens> plain(std::string_view text) const;
  Result<Tokens> chat(const std::vector<ChatMessage>& messages, std::string_view beginning) const;
  Result<std::vector<Tokens>> chat_turns(const Sample& sample, Asking asking) const;
  Result<std::vector<Tokens>> text_turns(const Sample& sample, Asking asking) const;

  const Engine& engine_;
  bool chat_ = false;
};

}  // namespace loci
