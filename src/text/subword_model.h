// A model turns one piece of text into tokens. Immutable; any thread may use it with its own Workspace, which also
// remembers short pieces: most of a text is words seen before.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "loci/types.h"
#include "text/pair_merge.h"

namespace loci {

struct SubwordWorkspace {
  std::vector<Symbol> symbols;
  std::vector<MergeCandidate<uint32_t>> by_rank;
  std::vector<MergeCandidate<float>> by_score;

  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  struct Range {
    uint32_t begin, end;  // in `remembered`
  };
  std::unordered_map<std::string, Range, Hash, std::equal_to<>> memory;
  std::vector<TokenId> remembered;
};

class SubwordModel {
 public:
  virtual ~SubwordModel() = default;
  // Appends the tokens of `piece`, which is valid UTF-8 unless the model reads bytes.
  virtual void encode(std::string_view piece, SubwordWorkspace& workspace, std::vector<TokenId>& ids) const = 0;
};

// Appends what `make(piece, ids)` appends, from memory where a short piece was seen before.
template <typename Make>
void encode_with_memory(std::string_view piece, SubwordWorkspace& workspace, std::vector<TokenId>& ids, Make&& make) {
  constexpr size_t kMaxBytes = 48, kMaxPieces = 1 << 16;
  if (piece.size() > kMaxBytes) return make(piece, ids);
  const auto known = workspace.memory.find(piece);
  if (known != workspace.memory.end()) {
    const auto begin = workspace.remembered.begin();
    ids.insert(ids.end(), begin + known->second.begin, begin + known->second.end);
    return;
  }
  const size_t before = ids.size();
  make(piece, ids);
  if (workspace.memory.size() >= kMaxPieces) return;
  const auto begin = static_cast<uint32_t>(workspace.remembered.size());
  workspace.remembered.insert(workspace.remembered.end(), ids.begin() + static_cast<ptrdiff_t>(before), ids.end());
  workspace.memory.emplace(piece, SubwordWorkspace::Range{begin, static_cast<uint32_t>(workspace.remembered.size())});
}

}  // namespace loci
