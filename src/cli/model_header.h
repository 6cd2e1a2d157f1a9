// What commands need to know of a model before its engine exists: the context to ask for depends on the prompt's
// tokens, and the engine wants the context first. Reads the vocabulary and a few keys; no weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

#include "base/error.h"
#include "io/model_file.h"
#include "text/tokenizer.h"

namespace loci {

class ModelHeader {
 public:
  static Result<ModelHeader> open(const std::filesystem::path& path);

  uint32_t trained_context() const { return trained_context_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  // Tokens of `text` with BOS and EOS where the model asks for them.
  Result<uint32_t> count_tokens(std::string_view text) const;

 private:
  ModelHeader() = default;

  std::unique_ptr<ModelFile> file_;
  std::unique_ptr<Tokenizer> tokenizer_;
  uint32_t trained_context_ = 0;
};

}  // namespace loci
