// The model that a calibration studies: fed token by token or in chunks under the dense plan, with a tap that looks on.
//
// Owns weights, cache and workers. One thread at a time. Two sequences may be alive at once: a prompt and a fork of it.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attention/stages/tap.h"
#include "engine/core.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace loci {

// A prompt in the model's own format.
struct SubjectPrompt {
  std::vector<TokenId> tokens;
  uint32_t question = 0;  // where the question's tokens begin
};

using Cancelled = Core::Cancelled;

class Subject {
 public:
  // `options` as for an Engine; the plan is dense whatever they say.
  static Result<std::unique_ptr<Subject>> load(const std::filesystem::path& path, EngineOptions options);

  // Document and question in the model's chat template, with the answer's beginning as the assistant's first words; or
  // all as plain text if the model has no template or `raw`.
  Result<SubjectPrompt> prompt(const std::string& document, const std::string& question, const std::string& beginning,
                               bool raw) const;

  bool chats(bool raw) const { return !raw && template_ != nullptr; }  // whether prompt() takes the template

  // Feeds what has not been fed of `sequence.tokens` up to `end`, as rows of a prompt. on_logits gets the rows of
  // [logits_from, end): the number of the token that a row stands at, and its logits.
  using OnRow = std::function<void(uint32_t position, std::span<const float> logits)>;
  Status feed(Sequence& sequence, uint32_t end, const Cancelled& cancelled, uint32_t logits_from = ~0u,
              const OnRow& on_row = {});
  // Feeds the last token as a decode step and appends the likeliest next one.
  Result<TokenId> step(Sequence& sequence, const Cancelled& cancelled);
  // A sequence of these tokens, none of them fed.
  Sequence begin(std::vector<TokenId> tokens);
  // Generates greedily behind the sequence's tokens, of which one at least is not fed: up to `most` tokens, the end of
  // a line, or the end of the text. Returns what was generated, without the end.
  Result<std::vector<TokenId>> answer(Sequence& sequence, uint32_t most, const Cancelled& cancelled);

  void listen(Tap* tap) { core_->listen(tap); }
  Core& core() { return *core_; }
  const ModelShape& shape() const { return core_->stages().model(); }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  uint32_t context() const { return core_->layout().context; }
  int workers() const { return core_->threads().size(); }
  bool ends(TokenId id) const;  // a line, a turn or the text

 private:
  Subject() = default;

  std::unique_ptr<ModelFile> file_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> template_;
  std::unique_ptr<Core> core_;
};

// A view whose scratch is the tap's own.
View with_scratch(const View& view, OpContext& ops);

}  // namespace loci
