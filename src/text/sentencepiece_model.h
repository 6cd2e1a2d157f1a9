// SentencePiece's BPE: any two neighbours whose text together is a token may merge, the highest score first. What is
// left without a token falls back to byte tokens, or to the unknown token.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "text/subword_model.h"
#include "text/vocabulary.h"
#include "text/word_borders.h"

namespace loci {

class SentencePieceModel final : public SubwordModel {
 public:
  // `vocabulary.bytes` holds spaces where SentencePiece writes U+2581, and so does the text to encode.
  // kCorrupt if `scores` has another length or a value that is no number, or two mergeable tokens are the same.
  static Result<std::unique_ptr<SentencePieceModel>> build(const Vocabulary& vocabulary,
                                                           const std::vector<double>& scores, TokenId unknown);

  void encode(std::string_view piece, SubwordWorkspace& workspace, std::vector<TokenId>& ids) const override;

 private:
  struct Token {
    TokenId id;
    float score;
    bool unused;  // helps merging, then falls apart again
  };
  using LeftLengths = std::unordered_map<std::string_view, uint32_t>;

  SentencePieceModel() : borders_(" ") {}
  void encode_part(std::string_view part, SubwordWorkspace& workspace, std::vector<TokenId>& ids) const;
  void emit(std::string_view text, const LeftLengths& merged, std::vector<TokenId>& ids) const;
  void emit_unknown(std::string_view character, std::vector<TokenId>& ids) const;

  std::unordered_map<std::string, Token, SubwordWorkspace::Hash, std::equal_to<>> tokens_;
  size_t longest_ = 0;  // bytes of the longest token
  bool has_unused_ = false;
  bool byte_fallback_ = false;
  std::array<TokenId, 256> byte_ids_{};
  TokenId unknown_ = -1;
  WordBorders borders_;
};

}  // namespace loci
