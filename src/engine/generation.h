// One request on its way: what it feeds next, and what its logits become.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "engine/core.h"
#include "engine/logit_edits.h"
#include "engine/memory_picture.h"
#include "engine/sampler.h"
#include "engine/stop_strings.h"
#include "loci/loci.h"
#include "text/tokenizer.h"

namespace loci {

class Generation {
 public:
  // Checks the request and appends its prompt to `sequence`, which outlives this. Tokens of an empty sequence may come
  // from the prefix cache, unless `adopt` is false.
  static Result<Generation> begin(Core& core, const Tokenizer& tokenizer, const Request& request, Sequence& sequence,
                                  bool adopt = true);

  // The same request's next choice, on a fork of its sequence that has read the prompt: nothing is read again.
  // `request` and `sequence` outlive it.
  static Result<Generation> fork(const Generation& origin, const Request& request, Sequence& sequence);

  bool done() const { return finish_.has_value(); }
  // Set if the generation cannot go on.
  const std::optional<Error>& error() const { return error_; }
  void fail_with(Error error) { error_ = std::move(error); }
  // Tokens that the sequence has been fed at the end: the last one generated is not.
  uint32_t prompt_end() const { return prompt_end_; }
  uint32_t most_fed() const { return std::max(prompt_end_, most_tokens_ - 1); }
  uint32_t unfed() const { return sequence_->unfed(); }
  Sequence& sequence() { return *sequence_; }
  bool cancelled() const { return request_->cancelled != nullptr && request_->cancelled->load(); }

  // Chooses the next token, so that take() with the same logits need not: the costly part, and one that touches nothing
  // but this generation, so that those of a pass can choose side by side. Who has a constraint waits for take(), since
  // constraints are the engine's thread's.
  void choose(std::span<const float> logits);
  // The next token of the sequence. Ends the generation at a stop, the end of the text or the length.
  Status take(std::span<const float> logits);
  // After each forward pass.
  void passed();
  void cancel();
  // Before the first pass: takes the request's prompt out of the sequence.
  void withdraw();
  // Gives back every page; what was read and generated so far is to be fed anew, with the same outcome. `adopt`: as in
  // begin().
  void restart(Core& core, bool adopt = true);
  Completion complete();
  // Of an on-going or ended generation, for whoever `watch` names. Between passes.
  void show_memory(const MemoryWatch& watch, uint32_t choice) const;

 private:
  using Clock = std::chrono::steady_clock;

  Generation(const Tokenizer& tokenizer, const Request& request, Sequence& sequence, StopStrings stops);
  bool full() const { return sequence_->tokens.size() >= most_tokens_; }
  Result<TokenId> next_token(std::span<const float> logits);
  void show(const std::string& text);
  void finish(Finish reason);

  const Tokenizer* tokenizer_;
  const Request* request_;
  Sequence* sequence_;
  LogitEdits edits_;
  Sampler sampler_;
  StopStrings stops_;
  StreamDecoder decoder_;
  std::optional<Result<TokenId>> chosen_;  // by choose(), until take()
  std::optional<Finish> finish_;
  std::optional<Error> error_;
  std::vector<TokenId> generated_;
  std::string text_;
  uint32_t most_tokens_ = 0;   // that the sequence can come to
  uint32_t prompt_begin_ = 0;  // tokens of the sequence before this request
  uint32_t prompt_end_ = 0;
  uint32_t prompt_count_ = 0;          // tokens that the request brought
  uint32_t prompt_tokens_before_ = 0;  // what the sequence called its prompt
  uint32_t cached_ = 0;
  uint32_t decode_steps_ = 0;
  Clock::time_point started_;
  Clock::time_point first_token_;
  Clock::time_point last_token_;
};

}  // namespace loci
