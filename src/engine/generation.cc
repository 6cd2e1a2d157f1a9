#include "engine/generation.h"

#include <algorithm>
#include <utility>

namespace loci {
namespace {

Status check_prompt(const Core& core, const Request& request, const Sequence& sequence) {
  const uint32_t vocabulary = core.model().config().vocabulary;
  for (size_t i = 0; i < request.prompt.size(); ++i) {
    const TokenId id = request.prompt[i];
    if (id < 0 || static_cast<uint32_t>(id) >= vocabulary) {
      return fail(ErrorCode::kInvalidArgument, "token {} of the prompt is {}, but the vocabulary has {} tokens", i, id,
                  vocabulary);
    }
  }
  const uint64_t total = sequence.tokens.size() + request.prompt.size();
  if (total == 0) return fail(ErrorCode::kInvalidArgument, "the prompt is empty; give at least one token");
  if (total > core.layout().context) {
    return fail(
        ErrorCode::kLimit,
        "the prompt brings the sequence to {} tokens, but the context holds {}; raise the context or shorten it", total,
        core.layout().context);
  }
  return {};
}

double seconds(std::chrono::steady_clock::duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

Result<Generation> Generation::begin(Core& core, const Tokenizer& tokenizer, const Request& request, Sequence& sequence,
                                     bool adopt) {
  LOCI_CHECK(check(request.sampling));
  LOCI_CHECK(check_prompt(core, request, sequence));
  LOCI_TRY(StopStrings stops, StopStrings::make(request.stop));
  Generation out(tokenizer, request, sequence, std::move(stops));
  out.prompt_begin_ = static_cast<uint32_t>(sequence.tokens.size());
  out.prompt_tokens_before_ = sequence.prompt_tokens;
  const bool only_prompt = sequence.prompt_tokens == sequence.tokens.size();
  const bool empty = sequence.tokens.empty();
  sequence.tokens.insert(sequence.tokens.end(), request.prompt.begin(), request.prompt.end());
  if (only_prompt) sequence.prompt_tokens = static_cast<uint32_t>(sequence.tokens.size());
  // A sequence whose every token was fed has no logits to go on from: its last token is fed again.
  if (sequence.unfed() == 0 && !sequence.trim(sequence.cache.tokens() - 1)) sequence.clear();
  out.prompt_end_ = static_cast<uint32_t>(sequence.tokens.size());
  out.prompt_count_ = static_cast<uint32_t>(request.prompt.size());
  if (empty) sequence.salt = request.salt;
  const uint64_t most =
      std::min<uint64_t>(core.layout().context, uint64_t{sequence.tokens.size()} + request.max_new_tokens);
  out.most_tokens_ = static_cast<uint32_t>(most);
  core.begin_prompt(sequence, {.prompt_tokens = out.prompt_end_,
                               .total_tokens = out.most_tokens_,
                               .seed = request.sampling.seed,
                               .task = request.task,
                               .spans = request.spans});
  if (empty && adopt) out.cached_ = core.adopt_prefix(sequence);
  return out;
}

Result<Generation> Generation::fork(const Generation& origin, const Request& request, Sequence& sequence) {
  LOCI_CHECK(check(request.sampling));
  LOCI_TRY(StopStrings stops, StopStrings::make(request.stop));
  Generation out(*origin.tokenizer_, request, sequence, std::move(stops));
  out.prompt_begin_ = origin.prompt_begin_;
  out.prompt_tokens_before_ = origin.prompt_tokens_before_;
  out.prompt_end_ = origin.prompt_end_;
  out.prompt_count_ = origin.prompt_count_;
  out.most_tokens_ = origin.most_tokens_;
  out.cached_ = origin.prompt_count_;
  out.started_ = origin.started_;
  return out;
}

Generation::Generation(const Tokenizer& tokenizer, const Request& request, Sequence& sequence, StopStrings stops)
    : tokenizer_(&tokenizer),
      request_(&request),
      sequence_(&sequence),
      edits_(request.sampling),
      sampler_(request.sampling),
      stops_(std::move(stops)),
      decoder_(tokenizer),
      started_(Clock::now()),
      first_token_(started_),
      last_token_(started_) {}

void Generation::show(const std::string& text) {
  if (text.empty()) return;
  text_ += text;
  if (request_->on_text) request_->on_text(text);
}

void Generation::finish(Finish reason) {
  if (!stops_.match()) {
    show(stops_.push(decoder_.finish()));
    if (!stops_.match()) show(stops_.finish());
  }
  finish_ = stops_.match() ? Finish::kStop : reason;
}

Result<TokenId> Generation::next_token(std::span<const float> logits) {
  LOCI_TRY(const std::span<const float> edited, edits_.apply(logits, request_->constraint.get()));
  return sampler_.sample(edited, sequence_->tokens, sequence_->tokens.size());
}

void Generation::choose(std::span<const float> logits) {
  if (request_->constraint == nullptr && !full()) chosen_ = next_token(logits);
}

Status Generation::take(std::span<const float> logits) {
  last_token_ = Clock::now();
  if (generated_.empty()) {
    first_token_ = last_token_;
  } else {
    ++decode_steps_;
  }
  if (full()) {  // nothing may be added: the request wanted the prompt read only
    finish(Finish::kLength);
    return {};
  }
  Constraint* const constraint = request_->constraint.get();
  const Result<TokenId> next = chosen_ ? *std::exchange(chosen_, std::nullopt) : next_token(logits);
  LOCI_TRY(const TokenId token, next);
  if (!request_->ignore_eos && tokenizer_->is_end(token)) {
    finish(Finish::kEnd);
    return {};
  }
  if (request_->on_token) {
    LOCI_TRY(const TokenLogprob chance, logprob_of(logits, token, request_->top_logprobs));
    request_->on_token(chance);
  }
  edits_.count(token);
  if (constraint != nullptr) constraint->accept(token);
  generated_.push_back(token);
  sequence_->tokens.push_back(token);
  show(stops_.push(decoder_.push(token)));
  if (stops_.match()) {
    finish(Finish::kStop);
  } else if (constraint != nullptr && constraint->complete()) {
    finish(Finish::kEnd);
  } else if (full()) {
    finish(Finish::kLength);
  }
  return {};
}

// Counted in steps that the cache holds, not in tokens: so it is where a replay after preemption shows them again.
void Generation::show_memory(const MemoryWatch& watch, uint32_t choice) const {
  const uint32_t fed = sequence_->cache.tokens();
  if (!watch.on_picture || (!done() && fed > prompt_end_ && (fed - prompt_end_) % watch.every != 0)) return;
  const MemoryPicture picture{
      .tokens = fed,
      .prompt_tokens = prompt_count_,
      .cached_tokens = cached_,
      .generated = static_cast<uint32_t>(generated_.size()),
      .prompt_seconds = seconds((generated_.empty() ? Clock::now() : first_token_) - started_),
      .decode_seconds = seconds(last_token_ - first_token_),
      .decode_steps = decode_steps_,
      .last = done(),
      .kv_bytes = sequence_->cache.kv_bytes(),
      .heads = held_heads(sequence_->cache, sequence_->plan->layout.layers.size(), watch.stretches)};
  watch.on_picture(choice, picture);
}

void Generation::passed() {
  if (!request_->on_progress) return;
  const uint32_t total = prompt_count_;
  const uint32_t fed = std::max(sequence_->cache.tokens(), prompt_begin_) - prompt_begin_;
  request_->on_progress({.prompt_done = std::min(fed, total),
                         .prompt_total = total,
                         .generated = static_cast<uint32_t>(generated_.size()),
                         .seconds = seconds(Clock::now() - started_)});
}

// What was not fed is forgotten, so that the sequence holds what was finished.
void Generation::cancel() {
  finish(Finish::kCancelled);
  finish_ = Finish::kCancelled;
  if (generated_.empty()) sequence_->tokens.resize(sequence_->cache.tokens());
  sequence_->prompt_tokens =
      std::min<uint32_t>(sequence_->prompt_tokens, static_cast<uint32_t>(sequence_->tokens.size()));
}

void Generation::withdraw() {
  sequence_->tokens.resize(prompt_begin_);
  sequence_->prompt_tokens = prompt_tokens_before_;
  if (sequence_->cache.tokens() > prompt_begin_) sequence_->cache.trim(0);  // what the prefix cache knew of the prompt
  sequence_->remembered_blocks = std::min(sequence_->remembered_blocks, prompt_begin_ / kPageSlots);
}

void Generation::restart(Core& core, bool adopt) {
  sequence_->clear();
  const RequestFacts facts = sequence_->facts;
  core.begin_prompt(*sequence_, facts);
  // Entries that another prompt left may stand for those of this one, but not for those born in decode steps.
  const std::vector<TokenId> generated(sequence_->tokens.begin() + prompt_end_, sequence_->tokens.end());
  sequence_->tokens.resize(prompt_end_);
  if (adopt) core.adopt_prefix(*sequence_);
  sequence_->tokens.insert(sequence_->tokens.end(), generated.begin(), generated.end());
}

Completion Generation::complete() {
  Completion out;
  out.text = std::move(text_);
  out.tokens = std::move(generated_);
  out.finish = finish_.value_or(Finish::kLength);
  out.prompt_tokens = prompt_count_;
  if (out.finish == Finish::kCancelled)
    out.prompt_tokens = std::min(prompt_count_, std::max(sequence_->cache.tokens(), prompt_begin_) - prompt_begin_);
  out.cached_tokens = cached_;
  out.prefill_seconds = seconds(first_token_ - started_);
  out.decode_seconds = seconds(last_token_ - first_token_);
  out.decode_steps = decode_steps_;
  out.kv_bytes = sequence_->cache.kv_bytes();
  out.kept_tokens = sequence_->cache.mean_entries();
  return out;
}

}  // namespace loci
