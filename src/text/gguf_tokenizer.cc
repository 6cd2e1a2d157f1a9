#include "text/gguf_tokenizer.h"

#include <charconv>

#include "text/bpe_model.h"
#include "text/byte_level.h"
#include "text/end_tokens.h"
#include "text/pipeline.h"
#include "text/pre_tokenizer_families.h"
#include "text/sentencepiece_model.h"
#include "text/unicode.h"

namespace loci {
namespace {

constexpr size_t kMaxTokens = size_t{1} << 24;

// The array under `key`; nullptr if it is absent or, since an empty array may have any type, empty.
template <typename T>
Result<const std::vector<T>*> array(const Metadata& metadata, std::string_view key) {
  const MetaValue* value = metadata.find(key);
  if (value == nullptr) return nullptr;
  if (const auto* items = std::get_if<std::vector<T>>(value)) return items;
  const bool empty = std::visit(
      [](const auto& v) {
        if constexpr (requires { v.empty(); }) return v.empty();
        return false;
      },
      *value);
  if (empty) return nullptr;
  return fail(ErrorCode::kCorrupt, "{} has elements of the wrong type", key);
}

Result<TokenKind> token_kind(size_t token, int64_t value) {
  if (value < 1 || value > 6) {
    return fail(ErrorCode::kCorrupt, "tokenizer.ggml.token_type[{}] is {}, the types are 1 to 6", token, value);
  }
  return static_cast<TokenKind>(value);
}

// Texts and kinds as the file has them.
Result<Vocabulary> read_tokens(const Metadata& metadata) {
  LOCI_TRY(const auto* texts, array<std::string>(metadata, "tokenizer.ggml.tokens"));
  if (texts == nullptr || texts->empty())
    return fail(ErrorCode::kCorrupt, "the vocabulary is empty: tokenizer.ggml.tokens has no elements");
  if (texts->size() > kMaxTokens) {
    return fail(ErrorCode::kLimit, "tokenizer.ggml.tokens has {} elements, at most {} are allowed", texts->size(),
                kMaxTokens);
  }
  LOCI_TRY(const auto* types, array<int64_t>(metadata, "tokenizer.ggml.token_type"));
  if (types != nullptr && types->size() != texts->size()) {
    return fail(ErrorCode::kCorrupt, "tokenizer.ggml.token_type has {} elements, tokenizer.ggml.tokens {}",
                types->size(), texts->size());
  }
  Vocabulary vocabulary{*texts, std::vector<TokenKind>(texts->size(), TokenKind::kNormal)};
  for (size_t i = 0; types != nullptr && i < types->size(); ++i) {
    LOCI_TRY(vocabulary.kinds[i], token_kind(i, (*types)[i]));
  }
  return vocabulary;
}

// BOS, EOS and what ends a turn. The defaults are those of the vocabulary's kind.
Status read_special(const Metadata& metadata, bool add_bos, PipelineParts& parts) {
  if (metadata.find("tokenizer.ggml.bos_token_id") != nullptr) {
    LOCI_TRY(parts.bos, token_id(metadata, "tokenizer.ggml.bos_token_id", parts.vocabulary));
  }
  if (metadata.find("tokenizer.ggml.eos_token_id") != nullptr) {
    LOCI_TRY(parts.eos, token_id(metadata, "tokenizer.ggml.eos_token_id", parts.vocabulary));
  }
  LOCI_TRY(parts.ends, end_tokens(metadata, parts.vocabulary, parts.eos));
  LOCI_TRY(const bool with_bos, metadata.flag_or("tokenizer.ggml.add_bos_token", add_bos));
  LOCI_TRY(const bool with_eos, metadata.flag_or("tokenizer.ggml.add_eos_token", false));
  if (with_bos && parts.bos >= 0) parts.prefix.push_back(parts.bos);
  if (with_eos && parts.eos >= 0) parts.suffix.push_back(parts.eos);
  return {};
}

// The tokens of the given kinds that are found before merging.
Result<AddedTokens> added_tokens(const Vocabulary& vocabulary, std::initializer_list<TokenKind> kinds) {
  std::vector<AddedToken> tokens;
  for (size_t i = 0; i < vocabulary.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    for (const TokenKind kind : kinds) {
      if (vocabulary.kinds[i] == kind)
        tokens.push_back({.id = id, .text = vocabulary.bytes[i], .special = vocabulary.is_special(id)});
    }
  }
  return AddedTokens::build(std::move(tokens));
}

// "left right"; neither part holds a space, since byte-level tokens do not.
Result<std::vector<std::pair<std::string, std::string>>> read_merges(const Metadata& metadata) {
  LOCI_TRY(const auto* merges, array<std::string>(metadata, "tokenizer.ggml.merges"));
  std::vector<std::pair<std::string, std::string>> pairs;
  if (merges == nullptr) return pairs;
  pairs.reserve(merges->size());
  for (const std::string& merge : *merges) {
    const size_t space = merge.find(' ', 1);
    if (merge.empty() || space == std::string::npos) {
      return fail(ErrorCode::kCorrupt, "tokenizer.ggml.merges[{}] is '{}', which is not two tokens", pairs.size(),
                  merge);
    }
    pairs.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  return pairs;
}

Result<std::unique_ptr<Tokenizer>> load_bpe(const Metadata& metadata) {
  LOCI_TRY(const std::string pre, metadata.text_or("tokenizer.ggml.pre", "default"));
  LOCI_TRY(PreTokenizerFamily family, pre_tokenizer_family(pre));
  PipelineParts parts;
  LOCI_TRY(parts.vocabulary, read_tokens(metadata));
  parts.kind = fmt::format("bpe/{}", family.name);
  parts.pre_tokenizer = std::move(family.pre_tokenizer);
  if (family.nfc) parts.normalizer.add(NormalForm::kNfc);

  BpeTables tables;
  LOCI_TRY(tables.merges, read_merges(metadata));
  tables.ignore_merges = family.ignore_merges;
  for (size_t i = 0; i < parts.vocabulary.size(); ++i) {
    if (parts.vocabulary.kinds[i] != TokenKind::kNormal) continue;
    std::string& text = parts.vocabulary.bytes[i];
    const auto [other, added] = tables.ids.emplace(text, static_cast<TokenId>(i));
    if (!added) return fail(ErrorCode::kCorrupt, "tokens {} and {} are both '{}'", other->second, i, text);
    if (auto bytes = from_byte_level(text)) text = std::move(*bytes);
  }
  LOCI_TRY(parts.model, BpeModel::build(tables));
  LOCI_TRY(parts.added,
           added_tokens(parts.vocabulary, {TokenKind::kControl, TokenKind::kUnknown, TokenKind::kUserDefined}));
  LOCI_CHECK(read_special(metadata, family.add_bos, parts));
  return std::unique_ptr<Tokenizer>(std::make_unique<PipelineTokenizer>(std::move(parts)));
}

// "<0xE2>" as the byte it stands for.
Status read_byte_token(size_t token, std::string& text) {
  unsigned byte = 256;
  const bool framed = text.size() == 6 && text.starts_with("<0x") && text[5] == '>';
  if (!framed || std::from_chars(text.data() + 3, text.data() + 5, byte, 16).ptr != text.data() + 5) {
    return fail(ErrorCode::kCorrupt, "byte token {} is '{}', expected '<0x00>' to '<0xFF>'", token, text);
  }
  text.assign(1, static_cast<char>(byte));
  return {};
}

// SentencePiece's text form to what we match and print: its U+2581 is a space.
Status read_piece(size_t token, TokenKind kind, std::string& text) {
  if (kind == TokenKind::kByte) return read_byte_token(token, text);
  if (kind == TokenKind::kControl || kind == TokenKind::kUnknown) return {};
  text = replace_all(text, "\u2581", " ");
  return {};
}

Result<std::unique_ptr<Tokenizer>> load_sentencepiece(const Metadata& metadata) {
  PipelineParts parts;
  LOCI_TRY(parts.vocabulary, read_tokens(metadata));
  parts.kind = "sentencepiece";
  parts.invalid_utf8 = InvalidUtf8::kPerByte;
  LOCI_TRY(const bool collapse, metadata.flag_or("tokenizer.ggml.remove_extra_whitespaces", false));
  if (collapse)
    return fail(ErrorCode::kUnsupported,
                "tokenizer.ggml.remove_extra_whitespaces is true, which is not supported for 'llama' vocabularies");
  for (size_t i = 0; i < parts.vocabulary.size(); ++i)
    LOCI_CHECK(read_piece(i, parts.vocabulary.kinds[i], parts.vocabulary.bytes[i]));

  TokenId unknown = parts.vocabulary.kinds[0] == TokenKind::kUnknown ? 0 : -1;
  if (metadata.find("tokenizer.ggml.unknown_token_id") != nullptr) {
    LOCI_TRY(unknown, token_id(metadata, "tokenizer.ggml.unknown_token_id", parts.vocabulary));
  }
  LOCI_TRY(const auto* scores, array<double>(metadata, "tokenizer.ggml.scores"));
  if (scores == nullptr)
    return fail(ErrorCode::kCorrupt, "the vocabulary has no scores: tokenizer.ggml.scores has no elements");
  LOCI_TRY(parts.model, SentencePieceModel::build(parts.vocabulary, *scores, unknown));

  LOCI_TRY(parts.space_before_text, metadata.flag_or("tokenizer.ggml.add_space_prefix", true));
  parts.normalizer.add(ReplaceStep{.text = "\u2581", .pattern = nullptr, .content = " "});
  if (parts.space_before_text) parts.normalizer.add(PrependStep{" "});
  LOCI_TRY(parts.added, added_tokens(parts.vocabulary, {TokenKind::kControl, TokenKind::kUnknown}));
  LOCI_TRY(parts.added_normalized, added_tokens(parts.vocabulary, {TokenKind::kUserDefined}));
  if (parts.vocabulary.size() > 2) {  // Llama's own numbering, where a file does not say
    parts.bos = 1;
    parts.eos = 2;
  }
  LOCI_CHECK(read_special(metadata, true, parts));
  return std::unique_ptr<Tokenizer>(std::make_unique<PipelineTokenizer>(std::move(parts)));
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> load_gguf_tokenizer(const Metadata& metadata) {
  LOCI_TRY(const std::string model, metadata.text("tokenizer.ggml.model"));
  if (model == "gpt2") return load_bpe(metadata);
  if (model == "llama") return load_sentencepiece(metadata);
  return fail(ErrorCode::kUnsupported,
              "tokenizer.ggml.model is '{}', supported are 'gpt2' (byte-level BPE) and 'llama' (SentencePiece)", model);
}

}  // namespace loci
