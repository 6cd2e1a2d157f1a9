// What is made of a model's files: tokenizer, chat template, weights with their cache.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/core.h"
#include "loci/loci.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace loci {

struct LoadedModel {
  std::unique_ptr<Tokenizer> tokenizer;
  std::optional<Result<ChatTemplate>> chat_template;  // nothing if the model has none
  std::unique_ptr<Core> core;
  ModelInfo info;
};

// `path` is a GGUF file or a Hugging Face folder.
Result<LoadedModel> load_model(const std::string& path, const EngineOptions& options);

// Applies the model's chat template; kUnsupported if the model has none.
Result<ChatPrompt> chat_prompt_of(const LoadedModel& model, std::span<const ChatMessage> messages,
                                  bool add_generation_prompt);

}  // namespace loci
