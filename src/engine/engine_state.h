// What an Engine owns.
#pragma once

#include <memory>
#include <optional>

#include "engine/core.h"
#include "loci/loci.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace loci {

struct Engine::State {
  std::unique_ptr<Tokenizer> tokenizer;
  std::optional<Result<ChatTemplate>> chat_template;
  std::unique_ptr<Core> core;
  ModelInfo info;
};

struct Session::State {
  Engine::State* engine;
  Sequence sequence;
};

}  // namespace loci
