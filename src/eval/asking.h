// One prompt on one engine: asked in the way of its task, scored, and compared with dense where logits can be.
//
// An answer, a choice and a recall are Engine::generate with a probe. Several questions about one context go through
// sessions: the next turn of a conversation reads what is new to its session, other questions fork the session that has
// read the context.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "eval/result_file.h"
#include "eval/suite.h"
#include "loci/loci.h"

namespace loci {

struct Prompt {
  PromptKey key;  // without a plan
  const Task* task = nullptr;
  SizedSample sized;                        // its text may be left out
  std::vector<TokenId> context;             // of requests: what stands before every question
  std::vector<std::vector<TokenId>> turns;  // by question all that stands before its answer
  std::string excerpt;
};

// What becomes of the logits.
enum class Referring { kNone, kWrites, kReads };

struct AskContext {
  Engine& engine;
  ReferenceStore& references;
  Referring referring = Referring::kNone;
  bool chat = false;
  const std::atomic<bool>* cancelled = nullptr;
  std::function<void(uint64_t prompt_tokens)> on_progress = {};
};

// Sessions show no logits, so that conversations are not compared with dense.
bool has_reference(const Task& task);

// The key's plan is left to the caller. kCancelled if it was.
Result<PromptResult> ask(const AskContext& context, const Prompt& prompt);

}  // namespace loci
