#include "text/bpe_model.h"

#include <algorithm>
#include <bit>

#include "text/byte_level.h"
#include "text/unicode.h"

namespace loci {
namespace {

uint64_t pair_key(TokenId left, TokenId right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

uint64_t mix(uint64_t pair) {
  pair *= 0x9E3779B97F4A7C15u;
  return pair ^ (pair >> 29);
}

std::string fallback_token(int byte) { return fmt::format("<0x{:02X}>", byte); }

}  // namespace

Result<std::unique_ptr<BpeModel>> BpeModel::build(const BpeTables& tables) {
  std::unique_ptr<BpeModel> model(new BpeModel());
  model->bytes_ = tables.bytes;
  model->ignore_merges_ = tables.ignore_merges;
  model->fuse_unknown_ = tables.fuse_unknown;
  model->unknown_ = tables.unknown;
  model->add_symbols(tables);
  LOCI_CHECK(model->add_merges(tables));
  if (!tables.ignore_merges) return model;
  for (const auto& [text, id] : tables.ids) {
    std::optional<std::string> bytes = tables.bytes ? from_byte_level(text) : text;
    if (bytes) model->whole_.emplace(std::move(*bytes), id);
  }
  return model;
}

void BpeModel::add_symbols(const BpeTables& tables) {
  const auto id_of = [&](const std::string& text) {
    const auto found = tables.ids.find(text);
    return found == tables.ids.end() ? -1 : found->second;
  };
  for (int byte = 0; byte < 256; ++byte) {
    std::string text;
    if (tables.bytes) {
      append_utf8(text, byte_level_char(static_cast<uint8_t>(byte)));
    } else {
      text = fallback_token(byte);
    }
    byte_ids_[static_cast<size_t>(byte)] = id_of(text);
  }
  byte_fallback_ = tables.byte_fallback;
  if (tables.bytes) return;
  for (const auto& [text, id] : tables.ids) {
    if (text.empty()) continue;
    const Utf8Char c = utf8_at(text, 0);
    if (c.valid && c.length == text.size()) character_ids_.emplace(c.code, id);
  }
}

Status BpeModel::add_merges(const BpeTables& tables) {
  const size_t slots = std::bit_ceil(std::max<size_t>(16, tables.merges.size() * 2));
  merges_.assign(slots, Slot{});
  mask_ = slots - 1;
  cut_at_borders_ = !tables.bytes;
  uint32_t rank = 0;
  for (const auto& [left, right] : tables.merges) {
    const auto a = tables.ids.find(left), b = tables.ids.find(right), both = tables.ids.find(left + right);
    if (a == tables.ids.end() || b == tables.ids.end() || both == tables.ids.end()) {
      return fail(ErrorCode::kCorrupt, "merge {} ('{}' + '{}') names a token that is not in the vocabulary", rank, left,
                  right);
    }
    put(pair_key(a->second, b->second), rank++, both->second);
    if (tables.bytes) continue;
    borders_.add_token(both->first);
    // These stand for characters other than their text: where words end cannot be told from the text.
    for (const TokenId id : {a->second, b->second}) {
      if (id == tables.unknown || std::find(byte_ids_.begin(), byte_ids_.end(), id) != byte_ids_.end())
        cut_at_borders_ = false;
    }
  }
  return {};
}

void BpeModel::put(uint64_t pair, uint32_t rank, TokenId id) {
  uint64_t at = mix(pair) & mask_;
  while (merges_[at].pair != kNoPair && merges_[at].pair != pair) at = (at + 1) & mask_;
  merges_[at] = {pair, rank, id};
}

const BpeModel::Slot* BpeModel::find(TokenId left, TokenId right) const {
  const uint64_t pair = pair_key(left, right);
  for (uint64_t at = mix(pair) & mask_;; at = (at + 1) & mask_) {
    if (merges_[at].pair == pair) return &merges_[at];
    if (merges_[at].pair == kNoPair) return nullptr;
  }
}

void BpeModel::byte_symbols(std::string_view part, std::vector<Symbol>& symbols) const {
  for (size_t at = 0; at < part.size(); ++at) {
    TokenId id = byte_ids_[static_cast<uint8_t>(part[at])];
    if (id < 0) id = unknown_;
    if (id >= 0) symbols.push_back({static_cast<uint32_t>(at), 1, id});
  }
}

void BpeModel::character_symbols(std::string_view part, std::vector<Symbol>& symbols) const {
  bool after_unknown = false;
  for (size_t at = 0; at < part.size();) {
    const uint32_t length = utf8_at(part, at).length;
    const auto begin = static_cast<uint32_t>(at);
    const auto known = character_ids_.find(utf8_at(part, at).code);
    const std::string_view bytes = part.substr(at, length);
    at += length;
    if (known != character_ids_.end()) {
      symbols.push_back({begin, length, known->second});
      after_unknown = false;
      continue;
    }
    const auto has_token = [&](char byte) { return byte_ids_[static_cast<uint8_t>(byte)] >= 0; };
    if (byte_fallback_ && std::all_of(bytes.begin(), bytes.end(), has_token)) {
      for (uint32_t i = 0; i < length; ++i)
        symbols.push_back({begin + i, 1, byte_ids_[static_cast<uint8_t>(bytes[i])]});
      after_unknown = false;
    } else if (unknown_ >= 0 && after_unknown && fuse_unknown_) {
      symbols.back().length += length;
    } else if (unknown_ >= 0) {
      symbols.push_back({begin, length, unknown_});
      after_unknown = true;
    }
  }
}

void BpeModel::encode_part(std::string_view part, SubwordWorkspace& workspace, std::vector<TokenId>& ids) const {
  std::vector<Symbol>& symbols = workspace.symbols;
  symbols.clear();
  if (bytes_) {
    byte_symbols(part, symbols);
  } else {
    character_symbols(part, symbols);
  }
  merge_pairs(symbols, workspace.by_rank, [&](const Symbol& a, const Symbol& b) -> std::optional<Merge<uint32_t>> {
    const Slot* slot = find(a.id, b.id);
    if (slot == nullptr) return std::nullopt;
    return Merge<uint32_t>{slot->rank, slot->id};
  });
  for (const Symbol& symbol : symbols) {
    if (symbol.length > 0) ids.push_back(symbol.id);
  }
}

void BpeModel::encode(std::string_view piece, SubwordWorkspace& workspace, std::vector<TokenId>& ids) const {
  if (ignore_merges_) {
    const auto whole = whole_.find(piece);
    if (whole != whole_.end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  const size_t before = ids.size();
  while (!piece.empty()) {
    const size_t length = cut_at_borders_ ? borders_.first_part(piece) : piece.size();
    encode_with_memory(piece.substr(0, length), workspace, ids,
                       [&](std::string_view part, std::vector<TokenId>& out) { encode_part(part, workspace, out); });
    piece.remove_prefix(length);
  }
  if (bytes_ || !fuse_unknown_ || unknown_ < 0) return;
  // A run of unknown characters may have been cut at a border.
  const auto first = ids.begin() + static_cast<ptrdiff_t>(before);
  ids.erase(std::unique(first, ids.end(), [&](TokenId a, TokenId b) { return a == unknown_ && b == unknown_; }),
            ids.end());
}

}  // namespace loci
