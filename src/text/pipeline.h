// The one tokenizer behind every format: added tokens, normalizer, added tokens again, pre-tokenizer, model; and back
// from ids to bytes by the vocabulary alone. The readers of GGUF metadata and of tokenizer.json fill in its parts.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/subword_model.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace loci {

struct PipelineParts {
  std::string kind;
  Vocabulary vocabulary;
  InvalidUtf8 invalid_utf8 = InvalidUtf8::kPerSequence;
  AddedTokens added;  // found in the text as given
  Normalizer normalizer;
  AddedTokens added_normalized;  // found in the normalized text
  PreTokenizer pre_tokenizer;
  std::unique_ptr<SubwordModel> model;
  std::vector<TokenId> prefix, suffix;  // BOS and EOS, where the model asks for them
  TokenId bos = -1, eos = -1;
  std::set<TokenId> ends;
  bool space_before_text = false;  // encoding puts a space before text, decoding takes it away
};

class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(PipelineParts parts) : p_(std::move(parts)) {}

  Result<std::vector<TokenId>> encode(std::string_view text, EncodeOptions options) const override;
  Result<std::string> piece(TokenId id, bool special) const override;
  Result<std::string> decode(std::span<const TokenId> ids, bool special) const override;
  size_t vocab_size() const override { return p_.vocabulary.size(); }
  TokenId bos() const override { return p_.bos; }
  TokenId eos() const override { return p_.eos; }
  bool is_end(TokenId id) const override { return p_.ends.contains(id); }
  std::string_view kind() const override { return p_.kind; }

 private:
  struct Workspace {
    PreTokenizer::Workspace pre_tokenizer;
    SubwordWorkspace model;
  };
  Status encode_plain(std::string_view text, bool first, bool read_special, Workspace& workspace,
                      std::vector<TokenId>& ids) const;
  Status encode_normalized(std::string_view text, bool first, Workspace& workspace, std::vector<TokenId>& ids) const;

  PipelineParts p_;
};

}  // namespace loci
