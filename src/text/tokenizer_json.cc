#include "text/tokenizer_json.h"

#include <algorithm>

#include "io/bounded_json.h"
#include "io/json_fields.h"
#include "text/bpe_model.h"
#include "text/byte_level.h"
#include "text/end_tokens.h"
#include "text/pipeline.h"
#include "text/tokenizer_json_steps.h"

namespace loci {
namespace {

using nlohmann::json;

constexpr JsonLimits kLimits = {.bytes = size_t{1} << 28, .depth = 24, .values = 20'000'000};
constexpr JsonLimits kConfigLimits = {.bytes = size_t{1} << 24, .depth = 16, .values = 200'000};

// An id may lie beyond the number of tokens, since files leave gaps, but not by much: memory follows the largest id.
Result<TokenId> checked_id(const json& value, std::string_view text, size_t tokens) {
  const size_t limit = 2 * tokens + 65536;
  if (!value.is_number_unsigned() || value.get<uint64_t>() >= limit) {
    return fail(ErrorCode::kCorrupt, "tokenizer.json: token '{}' has id {}, expected a whole number below {}", text,
                value.dump(), limit);
  }
  return static_cast<TokenId>(value.get<uint64_t>());
}

// Collects tokens by id, each id once.
class VocabularyBuilder {
 public:
  Status put(TokenId id, const std::string& text, TokenKind kind, std::string bytes) {
    const auto at = static_cast<size_t>(id);
    if (at >= texts_.size()) texts_.resize(at + 1);
    if (at >= vocabulary_.size()) {
      vocabulary_.bytes.resize(at + 1);
      vocabulary_.kinds.resize(at + 1, TokenKind::kUnused);
    }
    if (texts_[at].has_value() && *texts_[at] != text) {
      return fail(ErrorCode::kCorrupt, "tokenizer.json: tokens '{}' and '{}' both have id {}", *texts_[at], text, id);
    }
    texts_[at] = text;
    vocabulary_.kinds[at] = kind;
    vocabulary_.bytes[at] = std::move(bytes);
    return {};
  }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  TokenId find(std::string_view text) const {
    const auto at = std::find(texts_.begin(), texts_.end(), text);
    return at == texts_.end() ? -1 : static_cast<TokenId>(at - texts_.begin());
  }

 private:
  std::vector<std::optional<std::string>> texts_;
  Vocabulary vocabulary_;
};

// The byte that "<0xE2>" names.
std::optional<char> byte_of(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; };
  const int high = digit(text[3]), low = digit(text[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

class Reader {
 public:
  Reader(const json& root, const json* config, const Metadata& metadata)
      : root_(root, "tokenizer.json"), config_(config), metadata_(metadata) {}

  Result<std::unique_ptr<Tokenizer>> run() {
    parts_.kind = "bpe/tokenizer.json";
    LOCI_CHECK(read_steps());
    LOCI_CHECK(read_model());
    LOCI_CHECK(read_added_tokens());
    LOCI_CHECK(read_special());
    return std::unique_ptr<Tokenizer>(std::make_unique<PipelineTokenizer>(std::move(parts_)));
  }

 private:
  Status read_steps() {
    LOCI_TRY(const auto normalizer, root_.object("normalizer"));
    if (normalizer) LOCI_CHECK(read_normalizer(*normalizer, parts_.normalizer));
    LOCI_TRY(const auto pre_tokenizer, root_.object("pre_tokenizer"));
    if (pre_tokenizer) LOCI_CHECK(read_pre_tokenizer(*pre_tokenizer, parts_.pre_tokenizer));
    LOCI_TRY(const auto decoder, root_.object("decoder"));
    if (decoder) LOCI_CHECK(read_decoder(*decoder, decoder_));
    LOCI_TRY(const auto post_processor, root_.object("post_processor"));
    if (post_processor) LOCI_CHECK(read_post_processor(*post_processor, template_));
    if (decoder_.byte_level != parts_.pre_tokenizer.byte_level()) {
      return fail(ErrorCode::kUnsupported,
                  "tokenizer.json: pre-tokenizer and decoder must both be ByteLevel, or neither");
    }
    parts_.space_before_text = decoder_.strip_space;
    return {};
  }

  Status read_model() {
    LOCI_TRY(const auto model, root_.object("model"));
    if (!model) return fail(ErrorCode::kCorrupt, "tokenizer.json has no model");
    LOCI_TRY(const std::string type, model->text_or("type", "BPE"));
    if (type != "BPE")
      return fail(ErrorCode::kUnsupported, "tokenizer.json: model type '{}' is not supported, only 'BPE' is", type);
    for (const std::string_view affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      LOCI_TRY(const std::string text, model->text_or(affix, ""));
      if (!text.empty()) return fail(ErrorCode::kUnsupported, "tokenizer.json: {} '{}' is not supported", affix, text);
    }
    LOCI_TRY(const double dropout, model->number_or("dropout", 0));
    if (dropout != 0)
      return fail(ErrorCode::kUnsupported, "tokenizer.json: dropout {} would make encoding random", dropout);
    tables_.bytes = decoder_.byte_level;
    LOCI_TRY(tables_.ignore_merges, model->flag_or("ignore_merges", false));
    LOCI_TRY(tables_.byte_fallback, model->flag_or("byte_fallback", false));
    LOCI_TRY(tables_.fuse_unknown, model->flag_or("fuse_unk", false));
    LOCI_CHECK(read_vocab(*model));
    LOCI_CHECK(read_merges(*model));
    LOCI_TRY(const auto unknown, model->text("unk_token"));
    if (unknown) {
      const auto id = tables_.ids.find(*unknown);
      if (id == tables_.ids.end())
        return fail(ErrorCode::kCorrupt, "tokenizer.json: unk_token '{}' is not in the vocabulary", *unknown);
      tables_.unknown = id->second;
    }
    LOCI_TRY(parts_.model, BpeModel::build(tables_));
    return {};
  }

  Status read_vocab(const JsonFields& model) {
    const json* vocab = model.find("vocab");
    if (vocab == nullptr || !vocab->is_object() || vocab->empty()) return model.wrong("vocab", "an object with tokens");
    for (const auto& [text, value] : vocab->items()) {
      LOCI_TRY(const TokenId id, checked_id(value, text, vocab->size()));
      const std::optional<char> byte = decoder_.byte_fallback ? byte_of(text) : std::nullopt;
      std::optional<std::string> bytes = decoder_.byte_level ? from_byte_level(text) : std::nullopt;
      if (byte) bytes = std::string(1, *byte);
      if (!bytes) bytes = decoder_.apply(text);
      LOCI_CHECK(builder_.put(id, text, byte ? TokenKind::kByte : TokenKind::kNormal, std::move(*bytes)));
      tables_.ids.emplace(text, id);
    }
    return {};
  }

  Status read_merges(const JsonFields& model) {
    const json* merges = model.find("merges");
    if (merges == nullptr || !merges->is_array()) return model.wrong("merges", "an array");
    tables_.merges.reserve(merges->size());
    for (const json& merge : *merges) {
      if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
        tables_.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
        continue;
      }
      const std::string text = merge.is_string() ? merge.get<std::string>() : "";
      const size_t space = text.find(' ');
      if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
        return fail(ErrorCode::kCorrupt, "tokenizer.json: merge {} is not two tokens", tables_.merges.size());
      }
      tables_.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    }
    return {};
  }

  Status read_added_tokens() {
    const json* tokens = root_.find("added_tokens");
    if (tokens == nullptr) return {};
    if (!tokens->is_array()) return root_.wrong("added_tokens", "an array");
    std::vector<AddedToken> as_given, normalized;
    for (const json& item : *tokens) {
      if (!item.is_object()) return root_.wrong("added_tokens", "an array of objects");
      const JsonFields fields(item, "added_tokens of tokenizer.json");
      LOCI_TRY(const bool in_normalized, fields.flag_or("normalized", false));
      LOCI_TRY(AddedToken token, read_added_token(fields, tokens->size()));
      if (in_normalized) {
        LOCI_TRY(token.text, parts_.normalizer.run(token.text));
        normalized.push_back(std::move(token));
      } else {
        as_given.push_back(std::move(token));
      }
    }
    LOCI_TRY(parts_.added, AddedTokens::build(std::move(as_given)));
    LOCI_TRY(parts_.added_normalized, AddedTokens::build(std::move(normalized)));
    return {};
  }

  Result<AddedToken> read_added_token(const JsonFields& fields, size_t added) {
    AddedToken token;
    LOCI_TRY(token.text, fields.text_or("content", ""));
    LOCI_TRY(token.special, fields.flag_or("special", false));
    LOCI_TRY(token.left_strip, fields.flag_or("lstrip", false));
    LOCI_TRY(token.right_strip, fields.flag_or("rstrip", false));
    LOCI_TRY(token.single_word, fields.flag_or("single_word", false));
    const json* id = fields.find("id");
    LOCI_TRY(token.id, checked_id(id == nullptr ? json() : *id, token.text, tables_.ids.size() + added));
    const TokenKind kind = token.special ? TokenKind::kControl : TokenKind::kUserDefined;
    std::string bytes = token.special ? token.text : decoder_.apply(token.text);
    LOCI_CHECK(builder_.put(token.id, token.text, kind, std::move(bytes)));
    return token;
  }

  // "bos_token": a text, or an added token with its content.
  Result<TokenId> configured_token(std::string_view field, std::string_view key) {
    if (config_ != nullptr && config_->is_object()) {
      const JsonFields fields(*config_, "tokenizer_config.json");
      const json* value = fields.find(field);
      if (value != nullptr && value->is_object()) value = JsonFields(*value, "").find("content");
      if (value != nullptr && value->is_string()) {
        const TokenId id = builder_.find(value->get<std::string>());
        if (id >= 0) return id;
      }
    }
    return token_id(metadata_, key, parts_.vocabulary);
  }

  Status read_special() {
    parts_.vocabulary = builder_.vocabulary();
    LOCI_TRY(parts_.bos, configured_token("bos_token", "tokenizer.ggml.bos_token_id"));
    LOCI_TRY(parts_.eos, configured_token("eos_token", "tokenizer.ggml.eos_token_id"));
    LOCI_TRY(parts_.ends, end_tokens(metadata_, parts_.vocabulary, parts_.eos));
    for (const auto& [from, to] :
         {std::pair(&template_.prefix, &parts_.prefix), std::pair(&template_.suffix, &parts_.suffix)}) {
      for (const int64_t id : *from) {
        if (!parts_.vocabulary.contains(id)) {
          return fail(ErrorCode::kCorrupt, "tokenizer.json: post_processor names token {}, the vocabulary has {}", id,
                      parts_.vocabulary.size());
        }
        to->push_back(static_cast<TokenId>(id));
      }
    }
    return {};
  }

  const JsonFields root_;
  const json* config_;
  const Metadata& metadata_;
  JsonDecoder decoder_;
  JsonTemplate template_;
  BpeTables tables_;
  VocabularyBuilder builder_;
  PipelineParts parts_;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> load_tokenizer_json(std::string_view text, std::string_view config,
                                                       const Metadata& metadata) {
  LOCI_TRY(const json root, parse_bounded_json(text, "tokenizer.json", kLimits));
  if (!root.is_object()) return fail(ErrorCode::kCorrupt, "tokenizer.json is not an object");
  json config_root;
  if (!config.empty()) {
    LOCI_TRY(config_root, parse_bounded_json(config, "tokenizer_config.json", kConfigLimits));
  }
  return Reader(root, config.empty() ? nullptr : &config_root, metadata).run();
}

}  // namespace loci
