#include "calibrate/subject.h"

#include <algorithm>
#include <cstring>

#include "engine/chat_prompt.h"

namespace loci {
namespace {

uint32_t common_prefix(const std::vector<TokenId>& a, const std::vector<TokenId>& b) {
  return static_cast<uint32_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

}  // namespace

Result<std::unique_ptr<Subject>> Subject::load(const std::filesystem::path& path, EngineOptions options) {
  auto out = std::unique_ptr<Subject>(new Subject());
  LOCI_TRY(out->file_, open_model_file(path));
  LOCI_TRY(out->tokenizer_, Tokenizer::load(*out->file_));
  if (std::optional<Result<ChatTemplate>> found = load_chat_template(*out->file_)) {
    LOCI_TRY(ChatTemplate parsed, std::move(*found));
    out->template_ = std::make_unique<ChatTemplate>(std::move(parsed));
  }
  options.attention = "store=kv16";
  options.batch = 2;
  options.prefix_cache = false;
  LOCI_TRY(out->core_, Core::load(*out->file_, options));
  return out;
}

Result<SubjectPrompt> Subject::prompt(const std::string& document, const std::string& question,
                                      const std::string& beginning, bool raw) const {
  SubjectPrompt out;
  if (!chats(raw)) {
    LOCI_TRY(out.tokens, tokenizer_->encode(fmt::format("{}\n{} {}", document, question, beginning)));
    LOCI_TRY(const std::vector<TokenId> head, tokenizer_->encode(document));
    out.question = common_prefix(out.tokens, head);
    return out;
  }
  const ChatMessage user{"user", fmt::format("{}\n\n{}", document, question)};
  LOCI_TRY(ChatPrompt chat, make_chat_prompt(*template_, *tokenizer_, {&user, 1}, true));
  const size_t at = chat.text.rfind(question);
  if (at == std::string::npos)
    return fail(ErrorCode::kUnsupported, "the model's chat template rewrites the question; use --raw");
  LOCI_TRY(const std::vector<TokenId> head, tokenizer_->encode(chat.text.substr(0, at), {.add_special = false}));
  out.question = common_prefix(chat.tokens, head);
  out.tokens = std::move(chat.tokens);
  LOCI_TRY(const std::vector<TokenId> tail, tokenizer_->encode(beginning, {.add_special = false}));
  out.tokens.insert(out.tokens.end(), tail.begin(), tail.end());
  return out;
}

Sequence Subject::begin(std::vector<TokenId> tokens) {
  Sequence sequence = core_->new_sequence();
  const auto count = static_cast<uint32_t>(tokens.size());
  sequence.tokens = std::move(tokens);
  sequence.prompt_tokens = count;
  core_->begin_prompt(sequence, {.prompt_tokens = context(),  // what is fed in chunks is a prompt
                                 .total_tokens = context(),
                                 .seed = 0,
                                 .task = {},
                                 .spans = {}});
  return sequence;
}

Status Subject::feed(Sequence& sequence, uint32_t end, const Cancelled& cancelled, uint32_t logits_from,
                     const OnRow& on_row) {
  while (sequence.cache.tokens() < end) {
    const uint32_t at = sequence.cache.tokens();
    const uint32_t border = at < logits_from ? std::min(end, logits_from) : end;
    const Feed feed{.sequence = &sequence,
                    .tokens = std::min(core_->layout().chunking.chunk, border - at),
                    .logits = at < logits_from ? Feed::Logits::kNone : Feed::Logits::kAll};
    LOCI_CHECK(core_->forward({&feed, 1}, cancelled, [&](size_t, uint32_t first, const Rows& logits) -> Status {
      for (uint32_t i = 0; i < logits.rows; ++i) on_row(at + first + i, logits.span(i));
      return {};
    }));
  }
  return {};
}

Result<TokenId> Subject::step(Sequence& sequence, const Cancelled& cancelled) {
  LOCI_ASSERT(sequence.unfed() == 1, "a decode step feeds the last token");
  sequence.decode_from = sequence.cache.tokens();
  TokenId best = 0;
  const Feed feed{.sequence = &sequence, .tokens = 1, .logits = Feed::Logits::kLast};
  LOCI_CHECK(core_->forward({&feed, 1}, cancelled, [&](size_t, uint32_t, const Rows& logits) -> Status {
    const std::span<const float> row = logits.span(0);
    best = static_cast<TokenId>(std::max_element(row.begin(), row.end()) - row.begin());
    return {};
  }));
  sequence.tokens.push_back(best);
  return best;
}

bool Subject::ends(TokenId id) const {
  if (tokenizer_->is_end(id)) return true;
  const Result<std::string> piece = tokenizer_->piece(id);
  return !piece.ok() || piece->find('\n') != std::string::npos;
}

Result<std::vector<TokenId>> Subject::answer(Sequence& sequence, uint32_t most, const Cancelled& cancelled) {
  LOCI_CHECK(feed(sequence, static_cast<uint32_t>(sequence.tokens.size()) - 1, cancelled));
  std::vector<TokenId> out;
  while (out.size() < most) {
    LOCI_TRY(const TokenId next, step(sequence, cancelled));
    if (ends(next)) break;
    out.push_back(next);
  }
  return out;
}

View with_scratch(const View& view, OpContext& ops) {
  return {.ops = ops,
          .model = view.model,
          .facts = view.facts,
          .cache = view.cache,
          .layer = view.layer,
          .phase = view.phase,
          .prompt_ends = view.prompt_ends,
          .first_position = view.first_position,
          .queries = view.queries,
          .state = view.state};
}

}  // namespace loci
