#include "text/sentencepiece_model.h"

#include <algorithm>
#include <cmath>

#include "text/unicode.h"

namespace loci {

Result<std::unique_ptr<SentencePieceModel>> SentencePieceModel::build(const Vocabulary& vocabulary,
                                                                      const std::vector<double>& scores,
                                                                      TokenId unknown) {
  if (scores.size() != vocabulary.size()) {
    return fail(ErrorCode::kCorrupt, "the vocabulary has {} tokens but {} scores", vocabulary.size(), scores.size());
  }
  std::unique_ptr<SentencePieceModel> model(new SentencePieceModel());
  model->unknown_ = unknown;
  model->byte_ids_.fill(-1);
  for (size_t i = 0; i < vocabulary.size(); ++i) {
    const std::string& text = vocabulary.bytes[i];
    const TokenKind kind = vocabulary.kinds[i];
    const auto id = static_cast<TokenId>(i);
    if (kind == TokenKind::kByte) model->byte_ids_[static_cast<uint8_t>(text[0])] = id;
    const bool merges = kind == TokenKind::kNormal || kind == TokenKind::kUserDefined || kind == TokenKind::kUnused;
    if (!merges || text.empty()) continue;
    if (!std::isfinite(scores[i]))
      return fail(ErrorCode::kCorrupt, "token {} ('{}') has score {}, which is no number", i, text, scores[i]);
    const Token token{id, static_cast<float>(scores[i]), kind == TokenKind::kUnused};
    const auto [other, added] = model->tokens_.emplace(text, token);
    if (!added) return fail(ErrorCode::kCorrupt, "tokens {} and {} are both '{}'", other->second.id, i, text);
    model->longest_ = std::max(model->longest_, text.size());
    model->has_unused_ |= token.unused;
    model->borders_.add_token(text);
  }
  model->byte_fallback_ = std::find(model->byte_ids_.begin(), model->byte_ids_.end(), -1) == model->byte_ids_.end();
  return model;
}

void SentencePieceModel::emit_unknown(std::string_view character, std::vector<TokenId>& ids) const {
  if (!byte_fallback_) {
    if (unknown_ >= 0) ids.push_back(unknown_);
    return;
  }
  const std::string_view written = character == " " ? std::string_view("\u2581") : character;
  for (const char byte : written) ids.push_back(byte_ids_[static_cast<uint8_t>(byte)]);
}

// `merged` tells where the pieces that were merged from two came together.
void SentencePieceModel::emit(std::string_view text, const LeftLengths& merged, std::vector<TokenId>& ids) const {
  std::vector<std::string_view> rest = {text};
  while (!rest.empty()) {
    const std::string_view piece = rest.back();
    rest.pop_back();
    const auto token = tokens_.find(piece);
    if (token == tokens_.end()) {
      emit_unknown(piece, ids);
      continue;
    }
    const auto border = token->second.unused ? merged.find(piece) : merged.end();
    if (border == merged.end()) {
      ids.push_back(token->second.id);
    } else {
      rest.push_back(piece.substr(border->second));
      rest.push_back(piece.substr(0, border->second));
    }
  }
}

void SentencePieceModel::encode_part(std::string_view part, SubwordWorkspace& workspace,
                                     std::vector<TokenId>& ids) const {
  std::vector<Symbol>& symbols = workspace.symbols;
  symbols.clear();
  for (size_t at = 0; at < part.size();) {
    const uint32_t length = utf8_at(part, at).length;
    symbols.push_back({static_cast<uint32_t>(at), length});
    at += length;
  }
  LeftLengths merged;
  merge_pairs(symbols, workspace.by_score, [&](const Symbol& a, const Symbol& b) -> std::optional<Merge<float>> {
    const size_t length = size_t{a.length} + b.length;
    if (length > longest_) return std::nullopt;
    const auto token = tokens_.find(part.substr(a.begin, length));
    if (token == tokens_.end()) return std::nullopt;
    if (token->second.unused) merged[part.substr(a.begin, length)] = a.length;
    return Merge<float>{-token->second.score, token->second.id};
  });
  for (const Symbol& symbol : symbols) {
    if (symbol.length == 0) continue;
    if (symbol.id >= 0 && !has_unused_) {
      ids.push_back(symbol.id);
    } else {
      emit(part.substr(symbol.begin, symbol.length), merged, ids);
    }
  }
}

void SentencePieceModel::encode(std::string_view piece, SubwordWorkspace& workspace, std::vector<TokenId>& ids) const {
  const size_t before = ids.size();
  while (!piece.empty()) {
    const size_t length = borders_.first_part(piece);
    encode_with_memory(piece.substr(0, length), workspace, ids,
                       [&](std::string_view part, std::vector<TokenId>& out) { encode_part(part, workspace, out); });
    piece.remove_prefix(length);
  }
  // A run of unknown characters is one token.
  const auto first = ids.begin() + static_cast<ptrdiff_t>(before);
  ids.erase(std::unique(first, ids.end(),
                        [&](TokenId a, TokenId b) { return unknown_ >= 0 && a == unknown_ && b == unknown_; }),
            ids.end());
}

}  // namespace loci
