// Engine::score and the probe of Engine::generate: how well the model foresees given tokens, on the way that requests
// take.
#include <algorithm>

#include "engine/admission.h"
#include "engine/engine_state.h"
#include "engine/generation.h"
#include "engine/token_score.h"

namespace loci {
namespace {

Status check_tokens(const Core& core, std::span<const TokenId> tokens) {
  const uint32_t vocabulary = core.model().config().vocabulary;
  for (const TokenId id : tokens) {
    if (id < 0 || static_cast<uint32_t>(id) >= vocabulary) {
      return fail(ErrorCode::kInvalidArgument, "a token is {}, but the vocabulary has {} tokens", id, vocabulary);
    }
  }
  return {};
}

Status check_length(const Core& core, size_t tokens) {
  if (tokens <= core.layout().context) return {};
  return fail(ErrorCode::kLimit,
              "a window has {} tokens, but the context holds {}; raise the context or shorten the window", tokens,
              core.layout().context);
}

// Feeds all of `sequence`; scores[i] is of its token i + 1.
Status score_window(Core& core, Sequence& sequence, std::span<TokenScore> scores, const ScoreOptions& options,
                    const std::function<void()>& passed) {
  while (sequence.unfed() > 0) {
    const uint32_t fed = sequence.cache.tokens();
    const Feed feed{&sequence, sequence.next_rows(0), Feed::Logits::kAll};
    LOCI_CHECK(core.forward(
        std::span(&feed, 1), [&] { return options.cancelled != nullptr && options.cancelled->load(); },
        [&](size_t, uint32_t first_row, const Rows& logits) -> Status {
          core.threads().parallel_for(logits.rows, [&](size_t row, int) {
            const size_t position = fed + first_row + row;
            if (position < scores.size())
              scores[position] = score_token(logits.span(row), sequence.tokens[position + 1]);
          });
          return {};
        }));
    passed();
  }
  return {};
}

// A generation whose logits are shown to a probe. As long as the answer is the expected one, its own passes are what
// the probe wants to see; where it differs or ends, a fork reads on.
class ProbedGeneration {
 public:
  ProbedGeneration(Core& core, const Probe& probe, Generation& generation)
      : core_(core), probe_(probe), generation_(generation) {}

  Status run() {
    while (!generation_.done()) LOCI_CHECK(pass());
    if (rows_ >= probe_.expected.size()) return {};
    if (!fork_) fork_.emplace(generation_.sequence().fork());
    return read_on(*fork_);
  }

 private:
  Status pass() {
    Sequence& sequence = generation_.sequence();
    const Status done = forward(sequence, [&](std::span<const float> logits) -> Status {
      const size_t before = sequence.tokens.size();
      const bool watched = !fork_ && (probe_.expected.empty() || rows_ < probe_.expected.size());
      if (watched) show(logits);
      LOCI_CHECK(generation_.take(logits));
      // A token that ended the text was not added, though it may be the expected one.
      const bool added = sequence.tokens.size() > before;
      if (watched && !probe_.expected.empty()) follow(added);
      return {};
    });
    if (done.ok()) generation_.passed();
    return done;
  }

  // Looks at the token that the answer has just taken, or not.
  void follow(bool added) {
    const Sequence& sequence = generation_.sequence();
    const TokenId expected = probe_.expected[rows_ - 1];
    if (added && sequence.tokens.back() == expected) return;
    fork_.emplace(sequence.fork());
    if (added) fork_->tokens.pop_back();
    fork_->tokens.push_back(expected);
  }

  // Feeds a sequence that ends in the expected token of the row shown last.
  Status read_on(Sequence& sequence) {
    while (rows_ < probe_.expected.size()) {
      LOCI_CHECK(forward(sequence, [&](std::span<const float> logits) -> Status {
        show(logits);
        return {};
      }));
      sequence.tokens.push_back(probe_.expected[rows_ - 1]);
    }
    return {};
  }

  void show(std::span<const float> logits) {
    if (probe_.on_logits) probe_.on_logits(rows_, logits);
    ++rows_;
  }

  Status forward(Sequence& sequence, const std::function<Status(std::span<const float>)>& on_last_row) {
    const uint32_t tokens = sequence.next_rows(0);
    const bool last = tokens == sequence.unfed();
    const Feed feed{&sequence, tokens, last ? Feed::Logits::kLast : Feed::Logits::kNone};
    return core_.forward(
        std::span(&feed, 1), [&] { return generation_.cancelled(); },
        [&](size_t, uint32_t, const Rows& logits) { return on_last_row(logits.span(0)); });
  }

  Core& core_;
  const Probe& probe_;
  Generation& generation_;
  std::optional<Sequence> fork_;  // the prompt and the expected text, where the answer is another
  uint32_t rows_ = 0;             // shown so far
};

}  // namespace

Result<std::vector<TokenScore>> Engine::score(std::span<const TokenId> tokens, const ScoreOptions& options) {
  Core& core = *state_->core;
  LOCI_CHECK(check_tokens(core, tokens));
  const size_t length = options.window == 0 ? tokens.size() : options.window;
  LOCI_CHECK(check_length(core, std::min(length, tokens.size())));
  std::vector<TokenScore> scores;
  for (size_t begin = 0; begin < tokens.size(); begin += length) {
    const std::span<const TokenId> part = tokens.subspan(begin, std::min(length, tokens.size() - begin));
    Sequence sequence = core.new_sequence();
    sequence.tokens.assign(part.begin(), part.end());
    const auto all = static_cast<uint32_t>(part.size());
    const Claim claim{&sequence, options.prompt_tokens > 0 ? std::min(options.prompt_tokens, all) : all, all};
    LOCI_CHECK(fits(core, std::span(&claim, 1)));
    // Without decode steps the prompt has no end: nothing follows for which entries would be chosen.
    core.begin_prompt(sequence, {.prompt_tokens = options.prompt_tokens > 0 ? options.prompt_tokens : UINT32_MAX,
                                 .total_tokens = all,
                                 .seed = 0,
                                 .task = {},
                                 .spans = {}});
    const size_t first_score = scores.size();
    scores.resize(first_score + part.size() - 1);
    LOCI_CHECK(score_window(core, sequence, std::span(scores).subspan(first_score), options, [&] {
      if (!options.on_progress) return;
      options.on_progress({.prompt_done = static_cast<uint32_t>(begin + sequence.cache.tokens()),
                           .prompt_total = static_cast<uint32_t>(tokens.size()),
                           .generated = 0,
                           .seconds = 0});
    }));
  }
  return scores;
}

Result<std::vector<TokenScore>> Engine::score(std::span<const TokenId> tokens, uint32_t window,
                                              const std::atomic<bool>* cancelled,
                                              const std::function<void(const Progress&)>& on_progress) {
  return score(tokens, {.window = window, .prompt_tokens = 0, .cancelled = cancelled, .on_progress = on_progress});
}

Result<Completion> Engine::generate(const Request& request, const Probe& probe) {
  Core& core = *state_->core;
  LOCI_CHECK(check_tokens(core, probe.expected));
  LOCI_CHECK(check_length(core, request.prompt.size() + probe.expected.size()));
  Sequence sequence = core.new_sequence();
  LOCI_TRY(Generation generation, Generation::begin(core, *state_->tokenizer, request, sequence));
  const Claim claim{
      &sequence, generation.prompt_end(),
      std::max(generation.most_fed(), generation.prompt_end() + static_cast<uint32_t>(probe.expected.size()))};
  LOCI_CHECK(fits(core, std::span(&claim, 1)));
  LOCI_CHECK(ProbedGeneration(core, probe, generation).run());
  return generation.complete();
}

}  // namespace loci
