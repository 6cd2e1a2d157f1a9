// Byte pair encoding: merges in the order in which training found them. Over bytes (byte-level vocabularies) or over
// characters (vocabularies that came from SentencePiece), as tokenizer.json's "BPE" defines it.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/subword_model.h"
#include "text/word_borders.h"

namespace loci {

// The vocabulary as written in the file.
struct BpeTables {
  std::unordered_map<std::string, TokenId> ids;             // text of every token that merging may use
  std::vector<std::pair<std::string, std::string>> merges;  // best first
  bool bytes = true;                                        // symbols are bytes, else characters
  bool ignore_merges = false;                               // a piece that is a token is that token
  bool byte_fallback = false;                               // unknown characters become "<0xE2>"...
  bool fuse_unknown = false;                                // a run of unknown characters is one token
  TokenId unknown = -1;                                     // -1: unknown symbols are dropped
};

class BpeModel final : public SubwordModel {
 public:
  // kCorrupt names a merge whose parts or result are not tokens.
  static Result<std::unique_ptr<BpeModel>> build(const BpeTables& tables);

  void encode(std::string_view piece, SubwordWorkspace& workspace, std::vector<TokenId>& ids) const override;

 private:
  // Open addressing over (left, right): the table is asked several times for each byte of text.
  struct Slot {
    uint64_t pair = kNoPair;
    uint32_t rank = 0;
    TokenId id = -1;
  };
  static constexpr uint64_t kNoPair = ~uint64_t{0};

  BpeModel() : borders_("\u2581") {}
  Status add_merges(const BpeTables& tables);
  void add_symbols(const BpeTables& tables);
  void put(uint64_t pair, uint32_t rank, TokenId id);
  const Slot* find(TokenId left, TokenId right) const;
  void encode_part(std::string_view part, SubwordWorkspace& workspace, std::vector<TokenId>& ids) const;
  void byte_symbols(std::string_view part, std::vector<Symbol>& symbols) const;
  void character_symbols(std::string_view part, std::vector<Symbol>& symbols) const;

  std::vector<Slot> merges_;  // a power of two of slots, at most half of them used
  uint64_t mask_ = 0;
  std::array<TokenId, 256> byte_ids_{};  // bytes, or the fallback tokens of characters
  std::unordered_map<char32_t, TokenId> character_ids_;
  std::unordered_map<std::string, TokenId, SubwordWorkspace::Hash, std::equal_to<>> whole_;  // for ignore_merges
  WordBorders borders_;
  bool cut_at_borders_ = false;
  bool bytes_ = true, ignore_merges_ = false, byte_fallback_ = false, fuse_unknown_ = false;
  TokenId unknown_ = -1;
};

}  // namespace loci
